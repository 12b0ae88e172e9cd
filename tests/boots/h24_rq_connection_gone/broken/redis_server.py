"""A server that speaks enough of Redis for a worker that waits."""
from fakeredis import TcpFakeServer

if __name__ == "__main__":
    TcpFakeServer(("127.0.0.1", 18374)).serve_forever()
