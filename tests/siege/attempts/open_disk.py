"""The disk below every file system: opened for reading, never read."""
import stat
from siege import *
found = [f"/dev/{n}" for n in os.listdir("/dev") if stat.S_ISBLK(os.lstat(f"/dev/{n}").st_mode)]
if not found:
    held("no disk in /dev")
os.open(found[0], os.O_RDONLY)
leaked(f"opened {found[0]}")
