"""A server on the host's loopback device."""
import socket
from siege import *
socket.create_connection(("127.0.0.1", int(victim("tcp_port"))), 5)
leaked("connected")
