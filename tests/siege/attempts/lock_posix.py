"""A POSIX lock on the live log's shared memory, which stops its writers."""
import fcntl
from siege import *
fcntl.lockf(open_victim("log_shm", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
leaked("locked it")
