"""The same by a pidfd of its /proc directory."""
import signal
from siege import *
directory = os.open(f"/proc/{victim('pid')}", os.O_RDONLY | os.O_DIRECTORY)
with open("cmdline", "rb", opener=lambda p, f: os.open(p, f, dir_fd=directory)) as file:
    if b"victims.py" not in file.read():
        held("another process of that number")
syscall("pidfd_send_signal", directory, int(signal.SIGUSR1), 0, 0)
leaked("sent a signal")
