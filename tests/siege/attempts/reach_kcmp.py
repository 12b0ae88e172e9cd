"""Comparing kernel addresses of two processes (of its own: the call itself is the leak)."""
from siege import *
child = os.fork()
if child == 0:
    import time
    time.sleep(10)
    os._exit(0)
syscall("kcmp", os.getpid(), child, 1, 0, 0)
leaked("compared")
