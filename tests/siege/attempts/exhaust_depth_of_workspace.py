"""3,000 directories within each other in the workspace, deeper than a program may have descriptors."""
from siege import *
root = os.path.realpath(f"deep-{os.getpid()}")
os.mkdir(root)
at = os.open(root, os.O_RDONLY)
for _ in range(3_000):
    os.mkdir("d", dir_fd=at)
    inner = os.open("d", os.O_RDONLY, dir_fd=at)
    os.close(at)
    at = inner
left(root)
