"""The resolver that /etc/resolv.conf names: a datagram is sent, no answer waited for."""
import socket
from siege import *
servers = [line.split()[1] for line in open("/etc/resolv.conf") if line.startswith("nameserver")]
if not servers:
    not_possible("no resolver is named")
family = socket.AF_INET6 if ":" in servers[0] else socket.AF_INET
client = socket.socket(family, socket.SOCK_DGRAM)
client.connect((servers[0], 53))
client.send(b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01")
leaked("sent")
