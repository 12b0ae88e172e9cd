"""20,000 directories within each other, for whoever removes them."""
import tempfile
from siege import *
root = tempfile.mkdtemp(prefix="siege-deep-")
at = os.open(root, os.O_RDONLY)
for _ in range(20_000):
    os.mkdir("d", dir_fd=at)
    inner = os.open("d", os.O_RDONLY, dir_fd=at)
    os.close(at)
    at = inner
left(root)
