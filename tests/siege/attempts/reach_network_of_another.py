"""The network namespace of another process."""
from siege import *
fd = os.open(f"/proc/{victim('pid')}/ns/net", os.O_RDONLY)
checked(libc.setns(fd, 0x40000000), "setns")
leaked("entered it")
