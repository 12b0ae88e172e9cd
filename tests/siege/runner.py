"""Runs attempts one after the other, each in a process of its own with a time limit.

    runner.py PARAMETERS.json NAME...

Prints `NAME<TAB>ANSWER` for each. The parameters become environment variables, so that the attempts find their
victims also where the environment is not passed on.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time

# An attempt that takes longer has not come through.
TIME_MAX_S = 25


def first_line(fd, end):
    """Not until the end of the file: the attempt's children hold it open."""
    said = b""
    while b"\n" not in said:
        ready, _, _ = select.select([fd], [], [], max(0, end - time.monotonic()))
        if not ready:
            return f"HELD: not done within {TIME_MAX_S} s"
        more = os.read(fd, 4096)
        if not more:
            break
        said += more
    return said.decode(errors="replace").partition("\n")[0]


here = os.path.dirname(os.path.abspath(__file__))
with open(sys.argv[1]) as file:
    parameters = json.load(file)
environment = dict(os.environ, PYTHONPATH=here, PYTHONDONTWRITEBYTECODE="1", **parameters)
for name in sys.argv[2:]:
    script = os.path.join(here, "attempts", name + ".py")
    process = subprocess.Popen(
        [sys.executable, script],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        close_fds=False,
    )
    answer = first_line(process.stdout.fileno(), time.monotonic() + TIME_MAX_S)
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        pass
    process.wait()
    process.stdout.close()
    answer = answer or f"HELD: ended with {process.returncode} and said nothing"
    print(f"{name}\t{answer}", flush=True)
