"""A server that speaks as much of Redis as a worker without work needs."""
import socketserver
import time

NUMBERS = b"SADD SREM HSET HDEL DEL EXPIRE PEXPIRE ZADD ZREM ZREMRANGEBYSCORE LPUSH RPUSH LREM PUBLISH SETNX".split()
ZEROS = b"EXISTS DBSIZE LLEN ZCARD SCARD TTL HEXISTS".split()
LISTS = b"LRANGE ZRANGE ZRANGEBYSCORE SMEMBERS HGETALL KEYS MGET HMGET".split()
INFO = b"redis_version:7.0.0\r\nused_memory_human:1M\r\nconnected_clients:1\r\n"

CLIENTS = b"id=1 addr=127.0.0.1:1 name=\n"


class Client(socketserver.StreamRequestHandler):
    def words(self):
        count = int(self.rfile.readline()[1:])
        return [self.rfile.read(int(self.rfile.readline()[1:]) + 2)[:-2] for _ in range(count)]

    def answer(self, name, words):
        if name in (b"BLPOP", b"BRPOP", b"BLMOVE"):
            time.sleep(1)
            return b"*-1\r\n"
        if name == b"SUBSCRIBE":
            return b"*3\r\n$9\r\nsubscribe\r\n$%d\r\n%s\r\n:1\r\n" % (len(words[1]), words[1])
        if name == b"INFO" or words[1:2] == [b"LIST"]:
            text = INFO if name == b"INFO" else CLIENTS
            return b"$%d\r\n%s\r\n" % (len(text), text)
        if name in (b"GET", b"HGET", b"LPOP", b"EVALSHA"):
            return b"$-1\r\n"
        for names, text in ((NUMBERS, b":1\r\n"), (ZEROS, b":0\r\n"), (LISTS, b"*0\r\n")):
            if name in names:
                return text
        return b"+PONG\r\n" if name == b"PING" else b"+OK\r\n"

    def handle(self):
        queued = None
        try:
            while True:
                words = self.words()
                name = words[0].upper()
                if name == b"MULTI":
                    queued = []
                elif name == b"EXEC":
                    self.wfile.write(b"*%d\r\n%s" % (len(queued), b"".join(queued)))
                    queued = None
                    continue
                elif queued is not None:
                    queued.append(self.answer(name, words))
                    self.wfile.write(b"+QUEUED\r\n")
                    continue
                self.wfile.write(self.answer(name, words))
        except (OSError, ValueError):
            return


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


if __name__ == "__main__":
    Server(("127.0.0.1", 18376), Client).serve_forever()
