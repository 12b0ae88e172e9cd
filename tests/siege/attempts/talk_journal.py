"""The host's journal."""
import socket
from siege import *
path = next((p for p in ("/run/systemd/journal/socket", "/dev/log") if os.path.exists(p)), None)
if path is None:
    not_possible("no journal is there")
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).connect(path)
leaked("connected")
