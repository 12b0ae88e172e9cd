"""A raw socket on a device of the host."""
import socket
from siege import *
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, victim("interface").encode())
leaked("has a raw socket on it")
