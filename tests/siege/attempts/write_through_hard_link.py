"""A file outside, through a hard link in the workspace."""
from siege import *
link = f"link-{os.getpid()}"
os.link(victim("linked"), link)
fd = open_victim("linked", os.O_WRONLY | os.O_APPEND, link)
os.unlink(link)
os.write(fd, b"written\n")
leaked("wrote through the link")
