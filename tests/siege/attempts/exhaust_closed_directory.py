"""Directories that forbid their own removal: home and temporary ones of mode 0."""
import tempfile
from siege import *
root = tempfile.mkdtemp(prefix="siege-closed-")
os.makedirs(root + "/within/further")
home = os.environ.get("HOME", "")
if home and os.path.dirname(home) != "/" and home != "/root" and os.access(home, os.W_OK):
    os.mkdir(home + "/closed", 0)
for name in ("within/further", "within", "."):
    os.chmod(os.path.join(root, name), 0)
left(root)
