"""Another root by pivot_root: refused for its arguments only after the permission."""
import errno
from siege import *
CLONE_NEWNS = 0x00020000
libc.unshare(CLONE_NEWNS)
allowed_but((errno.EINVAL, errno.EBUSY), lambda: syscall("pivot_root", b"/usr", b"/usr"), "may call pivot_root")
