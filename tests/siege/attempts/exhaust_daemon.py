"""A process that leaves its session and parents and lives on."""
import sys
from siege import *
marker = f"siege-daemon-{os.getpid()}-{int.from_bytes(os.urandom(6), 'big')}"
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        null = os.open("/dev/null", os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        os.execve(sys.executable, [sys.executable, "-c", "import time; time.sleep(120)", marker], {})
    os._exit(0)
os.wait()
running(marker)
