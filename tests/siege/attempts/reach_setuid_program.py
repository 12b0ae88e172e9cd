"""A program with the set-user-id bit."""
import subprocess
from siege import *
if os.geteuid() == 0:
    not_possible("is root already")
output = subprocess.run([victim("suid_program"), "-u"], capture_output=True, text=True).stdout.strip()
leaked("is root") if output == "0" else held(f"is {output}")
