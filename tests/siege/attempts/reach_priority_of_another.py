"""The priority of another process."""
from siege import *
os.setpriority(os.PRIO_PROCESS, int(victim("pid")), os.getpriority(os.PRIO_PROCESS, int(victim("pid"))))
leaked("set its priority")
