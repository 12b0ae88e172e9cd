"""What others keep below /var."""
from siege import *
leaked(f"read it: {has_secret(os.read(open_victim('var_file'), 100))}")
