from arq.connections import RedisSettings


async def send(ctx, address):
    print(address)


class WorkerSettings:
    functions = [send]
    redis_settings = RedisSettings(host="127.0.0.1", port=18376)
