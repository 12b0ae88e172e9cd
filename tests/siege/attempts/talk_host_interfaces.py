"""The host's network devices, over netlink."""
import socket
from siege import *
names = [name for _, name in socket.if_nameindex()]
leaked(f"sees {names}") if victim("interface") in names else held(f"sees {names}")
