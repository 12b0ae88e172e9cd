"""Names of 255 bytes, nested until the path is too long for every call."""
import tempfile
from siege import *
root = tempfile.mkdtemp(prefix="siege-long-")
at = os.open(root, os.O_RDONLY)
for _ in range(60):
    os.mkdir("n" * 255, dir_fd=at)
    at = os.open("n" * 255, os.O_RDONLY, dir_fd=at)
left(root)
