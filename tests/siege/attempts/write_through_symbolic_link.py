"""A file outside, through a link in the workspace."""
from siege import *
link = f"link-{os.getpid()}"
os.symlink(victim("touched"), link)
fd = open_victim("touched", os.O_WRONLY | os.O_APPEND, link)
os.unlink(link)
os.write(fd, b"written\n")
leaked("wrote through the link")
