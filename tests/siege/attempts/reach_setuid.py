"""Becoming another user, by a capability of root."""
from siege import *
if os.geteuid() != 0:
    not_possible("not root")
os.setresuid(1, 1, 1)
leaked("is user 1")
