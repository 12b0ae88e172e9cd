"""More processes than a check needs: each only waits."""
import signal
from siege import *
WANTED = 1500
for count in range(WANTED):
    try:
        child = os.fork()
    except OSError as error:
        held(f"{count} processes, then {error}")
    if child == 0:
        signal.pause()
leaked(f"{WANTED} processes")
