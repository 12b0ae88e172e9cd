import dramatiq


@dramatiq.actor
def send(address):
    print(address)
