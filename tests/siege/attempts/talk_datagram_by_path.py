"""A datagram socket by its path."""
import socket
from siege import *
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"talk_datagram_by_path", victim("dgram_socket"))
leaked("sent")
