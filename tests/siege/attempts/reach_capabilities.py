"""Capabilities of root."""
from siege import *
with open("/proc/self/status") as file:
    effective = next(line.split()[1] for line in file if line.startswith("CapEff"))
leaked(f"has {effective}") if int(effective, 16) else held("has none")
