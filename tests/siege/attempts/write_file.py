"""A file outside, by its path."""
from siege import *
os.write(open_victim("touched", os.O_WRONLY | os.O_APPEND), b"written\n")
leaked("wrote to it")
