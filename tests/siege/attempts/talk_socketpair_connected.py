"""A pair of datagram sockets connected to a path by `connect`."""
import socket
from siege import *
one, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
one.connect(victim("dgram_socket"))
one.send(b"talk_socketpair_connected")
leaked("sent")
