"""The memory of another process of this user."""
from siege import *
with open(f"/proc/{victim('pid')}/mem", "rb", 0) as file:
    file.seek(int(victim("address")))
    leaked("read its memory") if has_secret(file.read(64)) else held("other memory")
