"""The log of the live state directory."""
from siege import *
os.read(open_victim("log"), 16)
leaked("read log.db")
