"""Typing into the terminal that it was started from (TIOCSTI)."""
import fcntl
import termios
from siege import *
for fd in range(3):
    if os.isatty(fd):
        fcntl.ioctl(fd, termios.TIOCSTI, b" ")
        leaked("typed into it")
try:
    terminal = os.open("/dev/tty", os.O_RDWR)
except OSError:
    not_possible("started from no terminal")
fcntl.ioctl(terminal, termios.TIOCSTI, b" ")
leaked("typed into it")
