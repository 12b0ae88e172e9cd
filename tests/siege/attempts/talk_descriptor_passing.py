"""An open file, passed by whoever listens outside."""
import socket
from siege import *
peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
peer.connect(victim("stream_socket"))
_, fds, _, _ = socket.recv_fds(peer, 16, 1)
leaked("was handed an open file") if fds and is_victim(fds[0], "file") else held("nothing came")
