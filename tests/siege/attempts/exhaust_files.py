"""Very many empty files in the temporary directory."""
import tempfile
from siege import *
WANTED = 300_000
directory = tempfile.mkdtemp(prefix="siege-")
made, why = 0, ""
here = os.open(directory, os.O_RDONLY)
try:
    while made < WANTED:
        os.close(os.open(str(made), os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=here))
        made += 1
except OSError as error:
    why = error
for at in range(made):
    os.unlink(str(at), dir_fd=here)
os.rmdir(directory)
leaked(f"{made} files") if made == WANTED else held(f"{made} files, then {why}")
