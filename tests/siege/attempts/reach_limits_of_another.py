"""The limits of another process."""
import resource
from siege import *
resource.prlimit(int(victim("pid")), resource.RLIMIT_NOFILE)
leaked("read its limits")
