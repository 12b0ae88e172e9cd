"""The system's message bus."""
import socket
from siege import *
path = "/run/dbus/system_bus_socket"
if not os.path.exists(path):
    not_possible("no bus is there")
socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).connect(path)
leaked("connected")
