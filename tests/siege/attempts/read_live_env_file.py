"""The live workspace's secrets by its own path."""
from siege import *
with os.fdopen(open_victim("env_file")) as file:
    leaked(f"read the live .env: {has_secret(file.read())}")
