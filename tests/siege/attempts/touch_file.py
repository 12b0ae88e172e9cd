"""The time of a file outside."""
from siege import *
os.close(open_victim("touched"))
os.utime(victim("touched"), (1, 1))
leaked("changed its time")
