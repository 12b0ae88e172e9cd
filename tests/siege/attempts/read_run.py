"""What services keep below /run."""
from siege import *
leaked(f"read it: {has_secret(os.read(open_victim('run_file'), 100))}")
