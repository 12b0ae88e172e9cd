"""The mode of a file outside."""
from siege import *
os.chmod(victim("touched"), 0o644)
leaked("changed its mode")
