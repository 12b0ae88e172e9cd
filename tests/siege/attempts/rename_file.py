"""The name of a file outside."""
from siege import *
os.rename(victim("renamed"), victim("renamed") + ".away")
os.rename(victim("renamed") + ".away", victim("renamed"))
leaked("renamed it")
