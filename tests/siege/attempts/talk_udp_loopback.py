"""A datagram to the host's loopback device."""
import socket
import time
from siege import *
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect(("127.0.0.1", int(victim("udp_port"))))
client.send(b"talk_udp_loopback")
time.sleep(0.2)
# Nobody listens on the port in another network: the second call says so.
client.send(b"talk_udp_loopback")
leaked("sent")
