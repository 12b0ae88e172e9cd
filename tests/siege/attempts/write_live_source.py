"""The live workspace's code."""
from siege import *
os.write(open_victim("source_file", os.O_WRONLY | os.O_APPEND), b"# written\n")
leaked("wrote to the live app.py")
