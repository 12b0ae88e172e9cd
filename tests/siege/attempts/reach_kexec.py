"""Another kernel: with wrong flags, which are looked at after the permission."""
import errno
from siege import *
allowed_but((errno.EINVAL,), lambda: syscall("kexec_load", 0, 0, 0, 0xDEAD), "may load a kernel")
