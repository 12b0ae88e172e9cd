"""The kernel's event services (connector, audit): a message to them, which changes nothing."""
import socket
import struct
from siege import *
NETLINK_AUDIT, NETLINK_CONNECTOR, NLMSG_ERROR = 9, 11, 2
# struct cn_msg to the process events, "no longer listening"; and AUDIT_GET.
connector = struct.pack("IIIIHHI", 1, 1, 0, 0, 4, 0, 2)
last = "no such service"
for protocol, kind, body in ((NETLINK_CONNECTOR, 3, connector), (NETLINK_AUDIT, 1000, b"")):
    try:
        link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        link.bind((0, 0))
        link.sendto(struct.pack("IHHII", 16 + len(body), kind, 1, 1, os.getpid()) + body, (0, 0))
        if protocol == NETLINK_AUDIT:
            # It answers everybody, most with a refusal.
            link.settimeout(2)
            reply = link.recv(64)
            if struct.unpack_from("H", reply, 4)[0] == NLMSG_ERROR:
                code = -struct.unpack_from("i", reply, 16)[0]
                raise OSError(code, os.strerror(code))
        leaked(f"sent to protocol {protocol}")
    except OSError as error:
        last = error
held(last)
