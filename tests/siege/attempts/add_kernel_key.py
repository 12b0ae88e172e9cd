"""A key left in the user's keyring, for the next process to find."""
from siege import *
key = syscall("add_key", b"user", b"ubs-siege", b"x", 1, -4)
KEYCTL_UNLINK = 9
syscall("keyctl", KEYCTL_UNLINK, key, -4)
leaked("added a key")
