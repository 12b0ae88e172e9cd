"""A stream socket by its path."""
import socket
from siege import *
socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).connect(victim("stream_socket"))
leaked("connected")
