"""A device node for the kernel's memory."""
import stat
from siege import *
path = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"node-{os.getpid()}")
os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 1))
os.unlink(path)
leaked("made the node of /dev/mem")
