"""What the attempts try to reach, made outside of the sandbox and kept until standard input ends.

    victims.py DIRECTORY WORKSPACE [UID]

Prints the attempts' parameters as one line of JSON. What only root can make is made first; then this becomes the user
UID, as whom the attempts run. Whatever reaches its sockets is noted in DIRECTORY/heard.
"""

import array
import ctypes
import json
import os
import random
import shutil
import signal
import socket
import sys
import threading

directory, workspace = sys.argv[1], sys.argv[2]
user = int(sys.argv[3]) if len(sys.argv) > 3 else os.geteuid()
if not os.environ.get("SIEGE_PLANTED"):
    # The environment that `/proc/PID/environ` shows is the one of the start.
    os.environ["SIEGE_PLANTED"] = f"planted-{random.getrandbits(64):016x}"
    os.execv(sys.executable, [sys.executable, *sys.argv])
secret = os.environ["SIEGE_PLANTED"]
parameters = {}


def at(name):
    return os.path.join(directory, name)


def name_victim(name, path):
    about = os.stat(path)
    parameters[name] = path
    parameters[name + "_id"] = f"{about.st_dev}:{about.st_ino}"


def plant(name, path, mode=0o600):
    with open(path, "w") as file:
        file.write(secret + "\n")
    os.chmod(path, mode)
    name_victim(name, path)


# To be removed at the end; what root made below /run, the driver removes.
outside = []
if os.geteuid() == 0:
    plant("foreign_file", at("foreign"))
    os.chown(at("foreign"), 1, 1)
    shutil.copy("/usr/bin/id", at("suid-id"))
    os.chmod(at("suid-id"), 0o4755)
    name_victim("suid_program", at("suid-id"))
    try:
        run = f"/run/ubs-siege-{os.getpid()}"
        os.mkdir(run, 0o755)
        plant("run_file", run + "/secret", 0o644)

    except OSError:
        pass
    os.chown(directory, user, user)
    if user != 0:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)

os.makedirs(at("home/.ssh"), 0o700)
plant("ssh_key", at("home/.ssh/id_ed25519"))
plant("file", at("file"))
plant("var_file", f"/var/tmp/ubs-siege-{os.getpid()}")
plant("tmp_file", f"/tmp/ubs-siege-{os.getpid()}")
outside += [parameters["var_file"], parameters["tmp_file"]]
try:
    plant("shm_file", f"/dev/shm/ubs-siege-{os.getpid()}")
    outside.append(parameters["shm_file"])
except OSError:
    pass
os.mkfifo(at("fifo"), 0o600)
name_victim("fifo", at("fifo"))
for name in ("lock_flock", "lock_posix", "lock_lease", "touched", "renamed", "linked"):
    plant(name, at(name))
name_victim("directory", directory)
name_victim("workspace", workspace)
state = os.path.join(workspace, ".ubs")
os.makedirs(os.path.join(state, "logs"), 0o700, exist_ok=True)
os.makedirs(os.path.join(state, "journals/one"), 0o700, exist_ok=True)
os.makedirs(os.path.join(state, "backups"), 0o700, exist_ok=True)
for name, path in {
    "fingerprint_key": "fingerprint.key",
    "service_log": "logs/web.log",
    "journal": "journals/one/plan.json",
    "backup": "backups/app.db",
    "log_shm": "planted.db-shm",
}.items():
    plant(name, os.path.join(state, path))
name_victim("log", os.path.join(state, "log.db"))
name_victim("env_file", os.path.join(workspace, ".env"))
name_victim("source_file", os.path.join(workspace, "app.py"))
parameters["pid"] = str(os.getpid())
parameters["scratch"] = at("scratch")
os.mkdir(at("scratch"))

heard = open(at("heard"), "a", buffering=1)


def listen(family, kind, address):
    server = socket.socket(family, kind)
    server.bind(address)
    if kind == socket.SOCK_STREAM:
        server.listen(16)

    def serve():
        while True:
            try:
                if kind == socket.SOCK_DGRAM:
                    heard.write(server.recv(4096).decode(errors="replace") + "\n")
                    continue
                peer, _ = server.accept()
                heard.write("a connection\n")
                if family == socket.AF_UNIX:
                    # Whoever connects is handed a descriptor of the planted file.
                    with open(at("file")) as file, peer:
                        fds = array.array("i", [file.fileno()])
                        peer.sendmsg([b"fd"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
                else:
                    peer.close()
            except OSError:
                pass

    threading.Thread(target=serve, daemon=True).start()
    return server


listen(socket.AF_UNIX, socket.SOCK_STREAM, at("stream"))
listen(socket.AF_UNIX, socket.SOCK_DGRAM, at("dgram"))
abstract = f"ubs-siege-{os.getpid()}"
listen(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + abstract)
listen(socket.AF_UNIX, socket.SOCK_DGRAM, "\0" + abstract + "-dgram")
tcp = listen(socket.AF_INET, socket.SOCK_STREAM, ("0.0.0.0", 0))
udp = listen(socket.AF_INET, socket.SOCK_DGRAM, ("0.0.0.0", 0))
parameters.update(
    stream_socket=at("stream"),
    dgram_socket=at("dgram"),
    abstract_socket=abstract,
    tcp_port=str(tcp.getsockname()[1]),
    udp_port=str(udp.getsockname()[1]),
)
try:
    listen(socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0))
    parameters["tcp6_port"] = str(listen(socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0)).getsockname()[1])
except OSError:
    pass
names = [name for _, name in socket.if_nameindex() if name != "lo"]
if names:
    parameters["interface"] = names[0]

# Memory of our own, to be found by its address.
planted = ctypes.create_string_buffer(secret.encode())
parameters["address"] = str(ctypes.addressof(planted))
libc = ctypes.CDLL(None, use_errno=True)
PR_SET_PTRACER, ANY = 0x59616D61, ctypes.c_ulong(-1)
libc.prctl(PR_SET_PTRACER, ANY, 0, 0, 0)
PR_SET_DUMPABLE = 4
libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
with open(at("file")) as kept:
    os.dup2(kept.fileno(), 40)
parameters["victim_fd"] = "40"
# System V and POSIX objects of the host's IPC namespace.
libc.shmget.restype = ctypes.c_int
segment = libc.shmget(0, ctypes.c_size_t(4096), 0o1600)
if segment >= 0:
    libc.shmat.restype = ctypes.c_void_p
    address = libc.shmat(segment, None, 0)
    ctypes.memmove(address, secret.encode(), len(secret))
    parameters["shm_id"] = str(segment)
try:
    librt = ctypes.CDLL("librt.so.1", use_errno=True)
    O_CREAT = os.O_CREAT | os.O_RDWR
    queue = f"/ubs-siege-{os.getpid()}"
    if librt.mq_open(queue.encode(), O_CREAT, 0o600, None) >= 0:
        parameters["queue"] = queue
except (OSError, AttributeError):
    queue = None

signal.signal(signal.SIGUSR1, lambda *_: heard.write("a signal\n"))
print(json.dumps({"SIEGE_" + name.upper(): value for name, value in parameters.items()}), flush=True)
sys.stdin.read()
if segment >= 0:
    libc.shmctl(segment, 0, None)
if "queue" in parameters:
    librt.mq_unlink(parameters["queue"].encode())
for path in outside:
    try:
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    except OSError:
        pass
os._exit(0)
