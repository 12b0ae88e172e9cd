"""A System V segment of the host."""
from siege import *
libc.shmat.restype = ctypes.c_void_p
address = libc.shmat(int(victim("shm_id")), None, 0o10000)
if address in (None, ctypes.c_void_p(-1).value):
    checked(-1, "shmat")
leaked("attached it") if has_secret(ctypes.string_at(address, 64)) else held("another segment")
