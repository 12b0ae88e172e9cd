"""Attaching to another process of this user."""
from siege import *
PTRACE_SEIZE, PTRACE_DETACH = 0x4206, 17
pid = int(victim("pid"))
libc.ptrace.argtypes = [ctypes.c_long] * 4
checked(libc.ptrace(PTRACE_SEIZE, pid, 0, 0), "ptrace")
leaked("attached")
