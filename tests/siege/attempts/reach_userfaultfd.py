"""userfaultfd, by which the kernel is made to wait in its middle."""
from siege import *
try:
    syscall("userfaultfd", 0)
except OSError:
    UFFD_USER_MODE_ONLY = 1
    syscall("userfaultfd", UFFD_USER_MODE_ONLY)
leaked("has one")
