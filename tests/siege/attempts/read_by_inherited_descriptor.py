"""A directory that whoever started us had open."""
from siege import *
for fd in range(3, 1024):
    try:
        os.fstat(fd)
        found = os.open(".ubs/fingerprint.key", os.O_RDONLY, dir_fd=fd)
    except OSError:
        continue
    if is_victim(found, "fingerprint_key"):
        leaked(f"read through descriptor {fd}")
held("no such descriptor")
