"""A switch of the kernel, opened for writing."""
from siege import *
for path in ("/sys/kernel/mm/transparent_hugepage/enabled", "/sys/kernel/profiling", "/sys/kernel/uevent_helper"):
    if os.path.exists(path):
        os.open(path, os.O_WRONLY)
        leaked(f"opened {path} for writing")
not_possible("no such switch") if os.path.exists("/sys/kernel") else held("no /sys")
