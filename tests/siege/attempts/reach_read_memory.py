"""The memory of another process, by process_vm_readv."""
from siege import *
class Piece(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
buffer = ctypes.create_string_buffer(64)
local = Piece(ctypes.cast(buffer, ctypes.c_void_p), 24)
remote = Piece(int(victim("address")), 24)
result = libc.process_vm_readv(int(victim("pid")), ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
checked(result, "process_vm_readv")
leaked("read its memory") if has_secret(buffer.raw) else held("other memory")
