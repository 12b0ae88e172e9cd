"""A lease on a file outside: who opens it waits."""
import fcntl
from siege import *
F_SETLEASE = 1024
fcntl.fcntl(open_victim("lock_lease"), F_SETLEASE, fcntl.F_RDLCK)
leaked("holds a lease")
