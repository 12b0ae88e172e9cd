"""A signal to another process of this user."""
import signal
from siege import *
pid = int(victim("pid"))
try:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        if b"victims.py" not in file.read():
            held("another process of that number")
except FileNotFoundError:
    pass
os.kill(pid, signal.SIGUSR1)
leaked("sent a signal")
