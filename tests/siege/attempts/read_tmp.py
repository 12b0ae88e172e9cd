"""What others keep in /tmp."""
from siege import *
leaked(f"read it: {has_secret(os.read(open_victim('tmp_file'), 100))}")
