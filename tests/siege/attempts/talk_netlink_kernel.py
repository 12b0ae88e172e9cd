"""The kernel's audit and connector services."""
import socket
from siege import *
NETLINK_AUDIT, NETLINK_CONNECTOR = 9, 11
for protocol in (NETLINK_CONNECTOR, NETLINK_AUDIT):
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol).bind((0, 1))
        leaked(f"bound to protocol {protocol}")
    except OSError as error:
        last = error
held(last)
