"""A file system mounted over the workspace, in a mount namespace of its own outside."""
from siege import *
CLONE_NEWNS, MS_PRIVATE, MS_REC = 0x00020000, 1 << 18, 16384
if libc.unshare(CLONE_NEWNS) == 0:
    checked(libc.mount(None, b"/", None, MS_PRIVATE | MS_REC, None), "mount")
checked(libc.mount(b"none", os.getcwd().encode(), b"tmpfs", 0, None), "mount")
leaked("mounted")
