"""Shared memory of the host."""
from siege import *
os.write(open_victim("shm_file", os.O_WRONLY | os.O_APPEND), b"written\n")
leaked("wrote to it")
