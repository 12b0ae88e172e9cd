"""What the attempts share: where the victims are, what the kernel is asked, and the one line of answer.

An attempt prints `LEAKED: what` when it reached outside, `HELD: why` when it did not, `NOT_POSSIBLE: why` when this
host has no such thing. An error of the system is the answer HELD; any other exception is a mistake in the attempt.
"""

import ctypes
import errno
import os
import platform
import sys

libc = ctypes.CDLL(None, use_errno=True)

# Numbers of the system calls that libc does not wrap everywhere: x86_64, aarch64.
CALLS = {
    "add_key": (248, 217),
    "bpf": (321, 280),
    "finit_module": (313, 273),
    "fsopen": (430, 430),
    "io_uring_setup": (425, 425),
    "kcmp": (312, 272),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pivot_root": (155, 41),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "userfaultfd": (323, 282),
}


def answer(word, text):
    print(f"{word}: {' '.join(str(text).split())[:200]}", flush=True)
    os._exit(0)


def leaked(what):
    answer("LEAKED", what)


def held(why):
    answer("HELD", why)


def not_possible(why):
    answer("NOT_POSSIBLE", why)


def left(path):
    """The driver looks whether this path is still there when the sandbox has ended."""
    answer("LEFT", path)


def running(marker):
    """The driver looks whether a process with this word in its command line outlived the sandbox."""
    answer("RUNNING", marker)


def on_error(kind, error, trace):
    if isinstance(error, OSError):
        held(f"{kind.__name__}: {error}")
    if isinstance(error, MemoryError):
        held("no memory")
    answer("BROKEN", f"{kind.__name__} in line {trace.tb_lineno}: {error}")


sys.excepthook = on_error


def victim(name):
    value = os.environ.get("SIEGE_" + name.upper())
    if not value:
        not_possible(f"there is no {name} on this host")
    return value


def is_victim(fd, name):
    """Is this open file the victim itself, and not another of its name?"""
    about = os.fstat(fd)
    return f"{about.st_dev}:{about.st_ino}" == victim(name + "_id")


def open_victim(name, flags=os.O_RDONLY, path=None):
    fd = os.open(path or victim(name), flags | os.O_NONBLOCK)
    if not is_victim(fd, name):
        held("another file of that name")
    return fd


def has_secret(data):
    return b"planted-" in (data if isinstance(data, bytes) else data.encode())


def checked(result, what="the call"):
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def syscall(name, *arguments):
    numbers = CALLS[name]
    machine = platform.machine()
    if machine not in ("x86_64", "aarch64"):
        not_possible(f"no numbers of system calls for {machine}")
    number = numbers[0 if machine == "x86_64" else 1]
    plain = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *plain)
    if result == -1 and ctypes.get_errno() == errno.ENOSYS:
        not_possible(f"{name}: the kernel does not have it")
    return checked(result, name)


def allowed_but(codes, work, what):
    """The call passes the permission check and fails later with one of these codes, so that nothing happens."""
    try:
        work()
    except OSError as error:
        if error.errno not in codes:
            raise
    leaked(what)
