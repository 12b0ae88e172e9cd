"""Journals of promotions, backups and service logs."""
from siege import *
reached = []
for name in ("journal", "backup", "service_log"):
    try:
        if has_secret(os.read(os.open(victim(name), os.O_RDONLY), 100)):
            reached.append(name)
    except OSError:
        pass
leaked(f"read {reached}") if reached else held("none of them is there")
