"""Runs attempts one after the other, each in a process of its own with a time limit.

    runner.py PARAMETERS.json NAME...

Prints `NAME<TAB>ANSWER` for each. The parameters become environment variables, so that the attempts find their
victims also where the environment is not passed on.
"""

import json
import os
import signal
import subprocess
import sys

# An attempt that takes longer has not come through.
TIME_MAX_S = 25

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
    try:
        output, _ = process.communicate(timeout=TIME_MAX_S)
        lines = output.decode(errors="replace").strip().splitlines()
        answer = lines[-1] if lines else f"HELD: ended with {process.returncode} and said nothing"
    except subprocess.TimeoutExpired:
        answer = f"HELD: not done within {TIME_MAX_S} s"
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        pass
    if process.poll() is None:
        process.wait()
    print(f"{name}\t{answer}", flush=True)
