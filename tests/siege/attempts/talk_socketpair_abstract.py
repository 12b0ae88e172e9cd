"""The same to an abstract name."""
import socket
from siege import *
one, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
one.sendto(b"talk_socketpair_abstract", "\0" + victim("abstract_socket") + "-dgram")
leaked("sent")
