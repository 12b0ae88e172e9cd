"""The newer calls for mounts, which old filters do not know."""
from siege import *
OPEN_TREE_CLONE, AT_FDCWD = 1, -100
try:
    syscall("fsopen", b"tmpfs", 0)
except OSError:
    syscall("open_tree", AT_FDCWD, b"/usr", OPEN_TREE_CLONE)
leaked("has a mount of its own")
