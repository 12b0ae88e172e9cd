from redis import Redis
from rq import Queue, Worker

redis = Redis(host="127.0.0.1", port=18374)

if __name__ == "__main__":
    Worker([Queue("mail", connection=redis)], connection=redis).work()
