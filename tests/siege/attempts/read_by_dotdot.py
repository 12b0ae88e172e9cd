"""The state directory by `..` from here, however deep here is."""
from siege import *
for levels in range(1, 40):
    path = "../" * levels + victim("fingerprint_key").lstrip("/")
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        continue
    if is_victim(fd, "fingerprint_key"):
        leaked(f"read by {levels} levels up")
held("no way up")
