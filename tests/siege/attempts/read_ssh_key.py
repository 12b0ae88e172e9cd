"""A private key in a home directory."""
from siege import *
leaked(f"read it: {has_secret(os.read(open_victim('ssh_key'), 100))}")
