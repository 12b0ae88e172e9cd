"""Memory that belongs to no process: files without a name."""
from siege import *
EACH, MANY = 512 << 20, 12
kept, data = [], b"x" * (1 << 20)
for _ in range(MANY):
    fd = os.memfd_create("siege")
    kept.append(fd)
    for _ in range(EACH >> 20):
        if os.write(fd, data) == 0:
            held("no more")
leaked(f"{EACH * MANY >> 20} MiB")
