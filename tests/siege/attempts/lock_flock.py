"""A lock (flock) on a file outside."""
import fcntl
from siege import *
fcntl.flock(open_victim("lock_flock"), fcntl.LOCK_EX | fcntl.LOCK_NB)
leaked("locked it")
