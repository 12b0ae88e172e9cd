"""Swap space: of no file, which is looked at after the permission."""
import errno
from siege import *
allowed_but((errno.ENOENT,), lambda: syscall("swapon", b"/nothing-here", 0), "may add swap")
