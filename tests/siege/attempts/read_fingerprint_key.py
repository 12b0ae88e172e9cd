"""The key of the fingerprints."""
from siege import *
leaked(f"read the key: {has_secret(os.read(open_victim('fingerprint_key'), 100))}")
