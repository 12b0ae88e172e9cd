"""The mount namespace of another process."""
from siege import *
fd = os.open(f"/proc/{victim('pid')}/ns/mnt", os.O_RDONLY)
checked(libc.setns(fd, 0x00020000), "setns")
leaked("entered it")
