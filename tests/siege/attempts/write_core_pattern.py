"""The program that the kernel starts as root when one crashes."""
from siege import *
os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY)
leaked("opened core_pattern for writing")
