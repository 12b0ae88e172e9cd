"""A file that another process has open, through its /proc/PID/fd."""
from siege import *
fd = os.open(f"/proc/{victim('pid')}/fd/{victim('victim_fd')}", os.O_RDONLY)
leaked("read the open file of another") if is_victim(fd, "file") else held("another file")
