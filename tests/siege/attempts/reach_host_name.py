"""The host's name, set to what it is, in the host's namespace."""
from siege import *
name = os.uname().nodename.encode()
checked(libc.sethostname(name, len(name)), "sethostname")
leaked("set it")
