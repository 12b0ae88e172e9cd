"""The live workspace through another process's root and working directory."""
from siege import *
for way in ("root", "cwd/../" * 1 + "root"):
    path = f"/proc/{victim('pid')}/{way}{victim('fingerprint_key')}"
    try:
        if is_victim(os.open(path, os.O_RDONLY), "fingerprint_key"):
            leaked(f"read through {way}")
    except OSError as error:
        last = error
held(last)
