"""io_uring, whose operations no filter of system calls sees."""
from siege import *
parameters = ctypes.create_string_buffer(120)
syscall("io_uring_setup", 4, parameters)
leaked("has a ring")
