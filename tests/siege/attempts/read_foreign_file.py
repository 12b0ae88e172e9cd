"""A file that belongs to another user alone."""
from siege import *
leaked(f"read it: {has_secret(os.read(open_victim('foreign_file'), 100))}")
