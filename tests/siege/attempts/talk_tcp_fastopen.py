"""TCP with data in the first packet, which filters on `connect` do not see."""
import socket
from siege import *
MSG_FASTOPEN = 0x20000000
client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.sendto(b"x", MSG_FASTOPEN, ("127.0.0.1", int(victim("tcp_port"))))
leaked("connected")
