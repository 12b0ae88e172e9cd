"""The disk, with many files each within the limit of one."""
from siege import *
EACH, MANY = 512 << 20, 12
directory = os.environ.get("SIEGE_SCRATCH_HERE", ".")
names = [os.path.join(directory, f"filled-{os.getpid()}-{at}") for at in range(MANY)]
made, why = 0, ""
try:
    for name in names:
        fd = os.open(name, os.O_CREAT | os.O_WRONLY, 0o600)
        os.posix_fallocate(fd, 0, EACH)
        os.close(fd)
        made += 1
except OSError as error:
    why = error
for name in names:
    try:
        os.unlink(name)
    except OSError:
        pass
leaked(f"{made * EACH >> 20} MiB") if made == MANY else held(f"{made * EACH >> 20} MiB, then {why}")
