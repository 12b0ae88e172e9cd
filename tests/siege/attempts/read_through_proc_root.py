"""The live workspace through another process's root and working directory."""
from siege import *
last = "no such process"
for way in ("root", "cwd"):
    # From its working directory, far enough up.
    up = "" if way == "root" else "/.." * 40
    path = f"/proc/{victim('pid')}/{way}{up}{victim('fingerprint_key')}"
    try:
        if is_victim(os.open(path, os.O_RDONLY), "fingerprint_key"):
            leaked(f"read through {way}")
    except OSError as error:
        last = str(error)
held(last)
