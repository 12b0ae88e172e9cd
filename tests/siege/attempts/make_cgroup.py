"""A control group of its own, to be rid of ours."""
from siege import *
for base in ("/sys/fs/cgroup", "/sys/fs/cgroup/pids"):
    path = f"{base}/ubs-siege-{os.getpid()}"
    try:
        os.mkdir(path)
    except OSError as error:
        last = error
        continue
    os.rmdir(path)
    leaked(f"made a group in {base}")
held(last)
