import dramatiq
from dramatiq.brokers.stub import StubBroker

dramatiq.set_broker(StubBroker())


@dramatiq.actor
def send(address):
    print(address)
