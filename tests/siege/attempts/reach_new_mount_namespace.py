"""A mount namespace of its own, with a user namespace if need be."""
from siege import *
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
if libc.unshare(CLONE_NEWNS) != 0:
    checked(libc.unshare(CLONE_NEWNS | CLONE_NEWUSER), "unshare")
leaked("made one")
