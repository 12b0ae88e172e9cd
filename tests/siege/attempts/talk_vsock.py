"""A socket to the machine below: made, never connected."""
import socket
from siege import *
if not os.path.exists("/sys/module/vsock") and not hasattr(socket, "AF_VSOCK"):
    not_possible("no vsock")
socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
leaked("made one")
