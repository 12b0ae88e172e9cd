"""Every packet of a device of the host."""
import socket
from siege import *
listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
listener.bind((victim("interface"), 0))
leaked("listens on it")
