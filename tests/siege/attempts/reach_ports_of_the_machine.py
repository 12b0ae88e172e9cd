"""The machine's input and output ports: none of them is used."""
import errno
from siege import *
if platform.machine() != "x86_64":
    not_possible("not on this processor")
try:
    checked(libc.iopl(3), "iopl")
except OSError as error:
    if error.errno == errno.ENOSYS:
        not_possible("the kernel does not have iopl")
    raise
leaked("may use them")
