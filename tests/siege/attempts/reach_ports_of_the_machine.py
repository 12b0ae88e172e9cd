"""The machine's input and output ports: none of them is used."""
from siege import *
if platform.machine() != "x86_64":
    not_possible("not on this processor")
checked(libc.iopl(3), "iopl")
leaked("may use them")
