"""The supervisor's environment, found among our own variables."""
from siege import *
names = [name for name, value in os.environ.items() if value.startswith("supervisor-")]
leaked(f"was given {names}") if names else held("only what is named is given")
