"""A pair of datagram sockets, which filters on `socket` do not see, sends to a path."""
import socket
from siege import *
one, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
one.sendto(b"talk_socketpair_by_path", victim("dgram_socket"))
leaked("sent")
