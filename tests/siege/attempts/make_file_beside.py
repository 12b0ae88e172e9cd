"""A new file in a directory outside."""
from siege import *
here = os.open(victim("directory"), os.O_RDONLY | os.O_DIRECTORY)
if not is_victim(here, "directory"):
    held("another directory of that name")
os.open(f"new-{os.getpid()}", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=here)
leaked("made a file")
