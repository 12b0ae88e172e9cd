"""A stream socket of an abstract name."""
import socket
from siege import *
socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).connect("\0" + victim("abstract_socket"))
leaked("connected")
