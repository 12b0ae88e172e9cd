"""The same over IPv6."""
import socket
from siege import *
socket.create_connection(("::1", int(victim("tcp6_port"))), 5)
leaked("connected")
