"""An extended attribute of a file outside."""
from siege import *
os.setxattr(victim("touched"), "user.siege", b"x")
leaked("set an attribute")
