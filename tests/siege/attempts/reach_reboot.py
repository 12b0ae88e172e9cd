"""Restarting the host: with a wrong magic number, which is looked at after the permission."""
import errno
from siege import *
allowed_but((errno.EINVAL,), lambda: syscall("reboot", 1, 2, 3, 0), "may restart the host")
