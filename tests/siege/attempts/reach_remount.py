"""A read-only mount made writable, in a mount namespace of its own outside."""
from siege import *
CLONE_NEWNS, MS_PRIVATE, MS_REC, MS_REMOUNT, MS_BIND = 0x00020000, 1 << 18, 16384, 32, 4096
if libc.unshare(CLONE_NEWNS) == 0:
    checked(libc.mount(None, b"/", None, MS_PRIVATE | MS_REC, None), "mount")
    checked(libc.mount(b"/usr", b"/usr", None, MS_BIND, None), "mount")
checked(libc.mount(None, b"/usr", None, MS_REMOUNT | MS_BIND, None), "remount")
leaked("remounted /usr")
