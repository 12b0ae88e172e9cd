"""A process that takes no signal but the last."""
import sys
from siege import *
marker = f"siege-deaf-{os.getpid()}-{int.from_bytes(os.urandom(6), 'big')}"
code = "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 3, 15)]; time.sleep(120)"
if os.fork() == 0:
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.execve(sys.executable, [sys.executable, "-c", code, marker], {})
import time
time.sleep(0.5)
running(marker)
