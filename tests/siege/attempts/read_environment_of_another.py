"""The environment of every process of this user."""
from siege import *
for pid in filter(str.isdigit, os.listdir("/proc")):
    if pid != victim("pid"):
        continue
    with open(f"/proc/{pid}/environ", "rb") as file:
        if has_secret(file.read()):
            leaked("read the environment of the victim")
held("the victim is not in /proc")
