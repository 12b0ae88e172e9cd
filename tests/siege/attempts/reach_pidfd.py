"""A descriptor of another process, through its pidfd."""
from siege import *
pidfd = syscall("pidfd_open", int(victim("pid")), 0)
fd = syscall("pidfd_getfd", pidfd, int(victim("victim_fd")), 0)
leaked("took its open file") if is_victim(fd, "file") else held("another file")
