"""A stopped process, which takes no polite signal."""
import sys
from siege import *
marker = f"siege-stopped-{os.getpid()}-{int.from_bytes(os.urandom(6), 'big')}"
code = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
if os.fork() == 0:
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.execve(sys.executable, [sys.executable, "-c", code, marker], {})
import time
time.sleep(0.5)
running(marker)
