"""The host's password file: opened, never read."""
from siege import *
fd = os.open("/etc/shadow", os.O_RDONLY)
leaked("opened /etc/shadow") if os.fstat(fd).st_size else held("it is empty")
