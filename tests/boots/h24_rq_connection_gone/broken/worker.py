from redis import Redis
from rq import Connection, Queue, Worker

redis = Redis(host="127.0.0.1", port=18374)

if __name__ == "__main__":
    with Connection(redis):
        Worker([Queue("mail")]).work()
