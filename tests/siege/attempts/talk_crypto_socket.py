"""The kernel's ciphers (AF_ALG), a way into its bugs."""
import socket
from siege import *
socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET, 0).bind(("hash", "sha256"))
leaked("made one")
