"""20,000 directories within each other, for whoever removes them."""
import tempfile
import time
from siege import *
root = tempfile.mkdtemp(prefix="siege-deep-")
at = os.open(root, os.O_RDONLY)
# Landlock looks at every level above; what is there after this time is deep enough.
end = time.monotonic() + 15
for _ in range(20_000):
    os.mkdir("d", dir_fd=at)
    inner = os.open("d", os.O_RDONLY, dir_fd=at)
    os.close(at)
    at = inner
    if time.monotonic() > end:
        break
left(root)
