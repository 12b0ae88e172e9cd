"""The kernel's own memory: opened, never read."""
from siege import *
os.open("/proc/kcore", os.O_RDONLY)
leaked("opened /proc/kcore")
