"""Shared memory of others, a mount of its own."""
from siege import *
leaked(f"read it: {has_secret(os.read(open_victim('shm_file'), 100))}")
