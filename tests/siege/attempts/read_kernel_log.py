"""The kernel's messages."""
from siege import *
SYSLOG_SIZE_BUFFER = 10
checked(libc.klogctl(SYSLOG_SIZE_BUFFER, None, 0), "klogctl")
os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
leaked("opened /dev/kmsg")
