"""Memory of many processes, each within its own limit."""
import mmap
from siege import *
EACH, MANY = 512 << 20, 12
done = []
for _ in range(MANY):
    reader, writer = os.pipe()
    if os.fork() == 0:
        page = mmap.mmap(-1, EACH)
        for at in range(0, EACH, 4096):
            page[at] = 1
        os.write(writer, b"x")
        import signal
        signal.pause()
    os.close(writer)
    done.append(reader)
full = sum(os.read(reader, 1) == b"x" for reader in done)
leaked(f"{full * EACH >> 20} MiB") if full == MANY else held(f"{full * EACH >> 20} MiB, then no more")
