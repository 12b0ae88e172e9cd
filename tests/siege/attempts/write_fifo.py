"""A pipe by its name."""
from siege import *
os.write(open_victim("fifo", os.O_RDWR), b"written\n")
leaked("wrote into it")
