# Runs in front of every probe program, in the application's own interpreter (3.9 or newer).
#
# It takes the private channel (descriptor 3) and the nonce before any application code runs, says what the
# interpreter is, puts the application's import path in place, and says what an exception was. What is
# said is one line each: `NONCE! JSON` before any application code ran, then one `NONCE JSON`, the answer;
# whatever else reaches the descriptor is neither.
#
# It runs in a namespace of its own (`BOOT` in `python.rs`), with builtins of its own, so that `__main__` is
# empty and an application that replaces `print`, `json` or `os.write` does not disturb it. Against code
# that looks for it on purpose, no program is safe within one interpreter.
import sys

import errno as _errno
import fcntl as _fcntl
import faulthandler as _faulthandler
import json as _json
import os as _os
import site as _site
import time as _time
import traceback as _traceback

_TEXT_MAX = 65536
_FRAMES_MAX = 256
_DEPTH_MAX = 10000
_CHAIN_MAX = 16
_WRITTEN_MAX = 256
_PACKAGE_DIRECTORIES = {"site-packages", "dist-packages", ".venv", "venv", "node_modules", ".tox"}


def _read_exactly(descriptor, size, read=_os.read):
    data = b""
    while len(data) < size:
        chunk = read(descriptor, min(size - len(data), 1 << 20))
        if not chunk:
            return None
        data += chunk
    return data


def _read_frame(descriptor, loads=_json.loads):
    """`LENGTH NEWLINE JSON`; None at the end."""
    digits = b""
    while not digits.endswith(b"\n"):
        digit = _read_exactly(descriptor, 1)
        if digit is None:
            return None
        digits += digit
    data = _read_exactly(descriptor, int(digits))
    return None if data is None else loads(data.decode("utf-8"))


def _take_input():
    """What is asked, and a descriptor on which more may be asked."""
    given = _read_frame(0)
    more = _fcntl.fcntl(0, _fcntl.F_DUPFD_CLOEXEC, 500)
    null = _os.open(_os.devnull, _os.O_RDONLY)
    _os.dup2(null, 0)
    _os.close(null)
    return given, more


def _json_writer(quote):
    """Plain data as JSON in ASCII, with nothing that the application could have replaced."""

    def write(value):
        if value is None or value is True or value is False:
            return {None: "null", True: "true", False: "false"}[value]
        if isinstance(value, str):
            return quote(value)
        if isinstance(value, int):
            return int.__repr__(value)
        if isinstance(value, (list, tuple)):
            return "[%s]" % ", ".join([write(item) for item in value])
        if isinstance(value, dict):
            pairs = ["%s: %s" % (quote(_text(key)), write(item)) for key, item in value.items()]
            return "{%s}" % ", ".join(pairs)
        return quote(_text(value))

    return write


def _take_channel(given):
    """The two ways to say something. The nonce is in no module and no global name."""
    nonce = given.pop("nonce")
    pid, get_pid, write, leave = _os.getpid(), _os.getpid, _os.write, _os._exit
    channel = _fcntl.fcntl(3, _fcntl.F_DUPFD_CLOEXEC, 500)
    _os.close(3)
    to_json = _json_writer(_json.encoder.encode_basestring_ascii)

    def send(mark, document):
        if get_pid() != pid:
            # A child that the application forked came back here.
            leave(0)
        data = ("\n%s%s %s\n" % (nonce, mark, to_json(document))).encode("ascii")
        while data:
            data = data[write(channel, data) :]

    def answer(document):
        """Hands over the answer and ends the process; threads and exit handlers are not waited for."""
        send("", document)
        leave(0)

    return send, answer, leave


_given, _more = _take_input()
_send, answer, _leave = _take_channel(_given)
_root = _os.path.realpath(_given["root"])
_home = _os.environ.get("HOME", "")
given = _given["input"]

_faulthandler.enable()
# Says on standard error where the program hangs, shortly before the sandbox ends it.
_hang_s = _given["hang_at_ms"] / 1000 - _time.time()
_faulthandler.dump_traceback_later(min(max(0.01, _hang_s), 1000000))


def _set_import_path():
    # Where the service runs, and what its program puts on the path.
    base = _os.path.normpath(_os.path.join(_given["root"], _given.get("cwd") or ""))
    if _given.get("cwd") and _os.path.isdir(base):
        _os.chdir(base)
    paths = [_os.path.join(_given["root"], part) for part in _given["path"]]
    if _given.get("script"):
        # A script's own directory is first, and that of the service is not there at all (`python -h`, -P).
        paths = [_os.path.dirname(_os.path.join(base, _given["script"]))]
    elif _given.get("cwd"):
        paths.insert(0, base)
    if _given.get("directory"):
        paths.insert(0, _os.path.join(base, _given["directory"]))
    # The services see this variable too.
    environ = _os.environ.get("PYTHONPATH", "").split(_os.pathsep)
    paths += [_os.path.join(base, part) for part in environ if part]
    front = []
    for path in paths:
        path = _os.path.normpath(_os.path.join(_given["root"], path))
        if path not in front:
            front.append(path)
    sys.path[:] = front + [path for path in sys.path if path and path not in front]
    user_base = _given.get("user_base")
    if user_base:
        directory = _os.path.join(
            user_base, "lib", "python%d.%d" % sys.version_info[:2], "site-packages"
        )
        if _os.path.isdir(directory):
            _site.addsitedir(directory)
    sys.argv[:] = [""]


def _text(value):
    try:
        text = str(value)
    except BaseException:
        text = "<unprintable>"
    return text[:_TEXT_MAX].encode("utf-8", "replace").decode("utf-8")


def _at_home(text):
    """Without what differs between the workspace and its copies: their names, the run's directory."""
    for name, short in ((_home, "~"), (_root, ""), (_given["root"], "")):
        if len(name) > 1:
            text = text.replace(name + _os.sep, short + _os.sep if short else "")
    return text


def relative(file):
    """The file relative to the workspace, if it is the application's own; else None."""
    if not isinstance(file, str) or file.startswith("<"):
        return None
    path = _os.path.realpath(file)
    if not path.startswith(_root + _os.sep):
        return None
    inside = path[len(_root) + 1 :]
    if _PACKAGE_DIRECTORIES.intersection(inside.split(_os.sep)):
        return None
    return inside


def _is_ours(frame):
    return (
        frame.filename == "<ubs>"
        or frame.filename.startswith("<frozen importlib")
        or frame.filename.endswith("importlib/__init__.py")
    )


def _strip(error, seen):
    # Frames of the probe and of the import machinery say nothing about the application.
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    kept = [frame for frame in error.stack if not _is_ours(frame)]
    error.stack[:] = kept[:64] + kept[-64:] if len(kept) > 128 else kept
    _strip(error.__cause__, seen)
    _strip(error.__context__, seen)


def _says_where(error):
    """The application's innermost frame of an exception; the module and line that raised it."""
    own, module, number = None, "", 0
    for frame, line in list(_traceback.walk_tb(error.__traceback__))[-_FRAMES_MAX:]:
        name = frame.f_code.co_filename
        if name == "<ubs>" or name.startswith("<frozen importlib"):
            continue
        module, number = _text(frame.f_globals.get("__name__") or ""), line or 0
        inside = relative(name)
        if inside is not None:
            own = {"file": inside, "line": line or 0, "function": frame.f_code.co_name, "code": ""}
    return own, module[:256], number


def _below(error):
    """Modules below the application's innermost frame, the innermost first; whether one was being imported; whether
    the application itself called what raised it."""
    found, importing, count, is_own = [], False, 0, False
    for frame, _ in list(_traceback.walk_tb(error.__traceback__))[-_FRAMES_MAX:]:
        name = frame.f_code.co_filename
        if name == "<ubs>" or name.startswith("<frozen importlib"):
            continue
        if relative(name) is not None:
            found, importing, count, is_own = [], False, 0, True
            continue
        module = _text(frame.f_globals.get("__name__") or "")[:256]
        importing = importing or frame.f_code.co_name == "<module>"
        count += 1
        if module in found:
            found.remove(module)
        found.insert(0, module)
    if isinstance(error, SyntaxError) and isinstance(error.filename, str):
        # The workspace is on the path too, and the environment in it.
        bases = [base for base in sys.path if base and error.filename.startswith(base + "/")]
        if bases and relative(error.filename) is None:
            name = error.filename[len(max(bases, key=len)) + 1 :].split(".")[0]
            found.insert(0, name.replace("/", ".")[:256])
    return found[:_CHAIN_MAX], importing, is_own and count == 1 and not importing


def _led_to(error):
    """The exceptions that this one was made of, or raised from, or raised while handling."""
    members = getattr(error, "exceptions", None)
    if isinstance(members, (list, tuple)):
        for member in members[:_CHAIN_MAX]:
            yield "member", member
    if error.__cause__ is not None:
        yield "cause", error.__cause__
    elif error.__context__ is not None and not error.__suppress_context__:
        yield "context", error.__context__


def _chain(error):
    """What led to it, the nearest first."""
    found = []
    seen = {id(error)}
    waiting = [error]
    while waiting:
        for how, other in _led_to(waiting.pop(0)):
            if not isinstance(other, BaseException) or id(other) in seen:
                continue
            if len(found) == _CHAIN_MAX:
                return found
            seen.add(id(other))
            waiting.append(other)
            found.append(
                {
                    "how": how,
                    "type": getattr(type(other), "__name__", "Exception"),
                    "message": _at_home(_text(other))[:1000],
                    "frame": _says_where(other)[0],
                }
            )
    return found


_written = {}
_opened = {}


def _note_writes():
    """Notes what is opened for writing or made, whether it succeeds or not (PEP 578)."""
    writing = _os.O_WRONLY | _os.O_RDWR | _os.O_CREAT | _os.O_TRUNC | _os.O_APPEND
    fspath, decode, join, normal = _os.fspath, _os.fsdecode, _os.path.join, _os.path.normpath
    places = {"open": 0, "os.mkdir": 0, "os.rename": 1, "os.symlink": 1}

    def hook(event, args):
        if event == "sqlite3.connect" and args:
            try:
                _opened["sqlite"] = decode(fspath(args[0]))
            except BaseException:
                pass
        place = places.get(event)
        if place is None or len(_written) >= _WRITTEN_MAX:
            return
        if event == "open" and not (isinstance(args[2], int) and args[2] & writing):
            return
        try:
            _written[normal(join(_given["root"], decode(fspath(args[place]))))] = True
        except BaseException:
            # A descriptor, or what only looks like a path.
            pass

    sys.addaudithook(hook)


def _unwritten():
    """What was to be written and is not there: absolute paths outside of the workspace and of the home directory."""
    own = tuple(directory + _os.sep for directory in (_root, _home) if len(directory) > 1)
    paths = [path for path in list(_written) if not path.startswith(own)]
    return [_text(path) for path in paths if not _os.path.lexists(path)][:64]


def _is_refused(error):
    """A local socket could not be made, which only a dry run refuses; a `multiprocessing` manager is behind one."""
    seen = 0
    while error is not None and seen < 32:
        seen += 1
        for frame, _ in _traceback.walk_tb(error.__traceback__):
            code = frame.f_code
            made = (_os.path.basename(code.co_filename), code.co_name)
            if made == ("socket.py", "__init__") and getattr(error, "errno", 0) == _errno.EACCES:
                return True
            if made == ("managers.py", "start") and isinstance(error, EOFError):
                return frame.f_globals.get("__name__") == "multiprocessing.managers"
        error = error.__cause__ or error.__context__
    return False


def _is_read_only(error):
    """It failed because nothing, or only so much, may be written here: so says the file system, or SQLite."""
    seen = 0
    while error is not None and seen < 32:
        seen += 1
        if isinstance(error, OSError) and error.errno in (_errno.EROFS, _errno.ENOSPC):
            return True
        if type(error).__name__ == "OperationalError":
            message = _text(error)
            told = ("readonly database", "disk is full")
            if any(text in message for text in told):
                return True
            # Where its directory may be written, or is not there, a file that cannot be made has another reason.
            if "unable to open database file" in message:
                opened = _os.path.normpath(_os.path.join(_os.getcwd(), _opened.get("sqlite") or ""))
                directory = _os.path.dirname(opened)
                if not _os.access(_root, _os.W_OK):
                    return True
                if _os.path.isdir(directory) and not _os.access(directory, _os.W_OK):
                    return True
        error = error.__cause__ or error.__context__
    return False


def _all_of(error):
    """The exception and what led to it."""
    found, waiting = [], [error]
    while waiting and len(found) < _CHAIN_MAX:
        error = waiting.pop(0)
        if isinstance(error, BaseException) and not any(error is other for other in found):
            found.append(error)
            waiting += [other for _, other in _led_to(error)]
    return found


# How drivers say that nobody answered; most say it in a text, since they are not written in Python.
_NOBODY_ANSWERED = (
    "could not connect to server",
    "could not translate host name",
    "connection refused",
    "connection to server",
    "name or service not known",
    "temporary failure in name resolution",
    "failed to resolve",
    "network is unreachable",
    "no route to host",
    "can't connect to",
    "cannot connect to",
    "all connection attempts failed",
)
_CONNECTION_ERRORS = {
    "gaierror",
    "herror",
    "ConnectionError",
    "ConnectError",
    "ConnectTimeout",
    "ConnectTimeoutError",
    "ConnectionTimeout",
    "ServerSelectionTimeoutError",
    "NoBrokersAvailable",
    "KafkaConnectionError",
    "ClientConnectorError",
    "EndpointConnectionError",
    "NoHostAvailable",
    "AMQPConnectionError",
    "TimeoutError",
}
_NETWORK_ERRNOS = {
    _errno.ECONNREFUSED,
    _errno.ENETUNREACH,
    _errno.EHOSTUNREACH,
    _errno.ETIMEDOUT,
    _errno.ENETDOWN,
    _errno.EADDRNOTAVAIL,
}


def _kinds(one):
    """The classes of an exception that the application did not write, and their names."""
    found = set()
    for kind in type(one).__mro__:
        module = getattr(kind, "__module__", None)
        file = getattr(sys.modules.get(module), "__file__", None) if isinstance(module, str) else None
        if module == "__main__" or isinstance(file, str) and "-packages" not in file and relative(file) is not None:
            continue
        found.add((module, getattr(kind, "__name__", "")))
    return found


def _is_network(error):
    """It failed because nobody answered, as it must without a network."""
    for one in _all_of(error):
        kinds = _kinds(one)
        if {name for _, name in kinds} & _CONNECTION_ERRORS:
            return True
        if isinstance(one, OSError) and one.errno in _NETWORK_ERRNOS:
            return True
        # The text of a driver; not what an application says in an exception of its own or of Python.
        of_package = any(module not in ("builtins", None) for module, _ in kinds)
        text = _text(one).lower()
        if (of_package or isinstance(one, OSError)) and any(part in text for part in _NOBODY_ANSWERED):
            return True
    return False


# SQLSTATE of a table and of a column that is not there; MySQL's numbers of them.
_UNDEFINED = {"42P01", "42703"}
_UNDEFINED_NUMBERS = {1146, 1054}
_UNDEFINED_NAMES = {"UndefinedTable", "UndefinedColumn", "UndefinedTableError", "UndefinedColumnError"}
_MYSQL = {"pymysql", "MySQLdb", "mysql", "aiomysql", "asyncmy"}


def _is_undefined(error):
    """A driver says that a table or a column is not there."""
    for one in _all_of(error):
        kinds = _kinds(one)
        modules = {module.split(".")[0] for module, _ in kinds if isinstance(module, str)}
        state = getattr(one, "sqlstate", None) or getattr(one, "pgcode", None)
        if modules & {"psycopg", "psycopg2", "asyncpg", "pg8000"} and (
            state in _UNDEFINED or {name for _, name in kinds} & _UNDEFINED_NAMES
        ):
            return True
        if ("sqlite3", "OperationalError") in kinds and _text(one).startswith(("no such table", "no such column")):
            return True
        if modules & _MYSQL and one.args and one.args[0] in _UNDEFINED_NUMBERS:
            return True
    return False


def _denied(error):
    """What the system denied: `file` (its mode), or `capability`, which a dry run has none of; a reason of its own."""
    seen = 0
    while error is not None and seen < 32:
        seen += 1
        if isinstance(error, PermissionError):
            if error.errno == _errno.EACCES and error.filename is not None:
                return "file"
            if error.errno in (_errno.EPERM, _errno.EACCES):
                return "capability"
        error = error.__cause__
    return ""


def _missing_directory(error):
    """A directory that is not there and in which a file was to be opened or made, relative to the workspace; and such
    a file outside of the workspace, as an absolute path."""
    for one in _all_of(error):
        path = None
        if isinstance(one, FileNotFoundError) and isinstance(one.filename, (str, bytes)):
            path = _os.fsdecode(one.filename)
        elif "unable to open database file" in _text(one):
            path = _opened.get("sqlite")
            if path and path.startswith("file:"):
                path = path[5:].split("?")[0]
        if not path:
            continue
        path = _os.path.normpath(_os.path.join(_os.getcwd(), path))
        directory = _os.path.dirname(path)
        if _os.path.lexists(directory):
            continue
        if directory.startswith(_root + _os.sep):
            return directory[len(_root) + 1 :], ""
        is_private = len(_home) > 1 and directory.startswith(_home + _os.sep)
        if not is_private and (path in _written or not isinstance(one, OSError)):
            return "", _text(path)
    return "", ""


def _hides(error):
    """The application's own top-level module that took part and hides another one: `[name, file, what it hides]`."""
    name = getattr(error, "name", None)
    names = {}
    if isinstance(name, str) and name:
        top = name.split(".")[0]
        names[top] = getattr(sys.modules.get(top), "__file__", None)
    # What failed while it was imported is no longer among the modules.
    for frame, _ in _traceback.walk_tb(error.__traceback__):
        inside = frame.f_globals.get("__name__")
        if isinstance(inside, str) and "." not in inside:
            names[inside] = frame.f_code.co_filename
    standard = getattr(sys, "stdlib_module_names", ())
    for name in names:
        inside = relative(names[name])
        if inside is None:
            continue
        if name in standard:
            return [name, inside, "standard"]
        import importlib.machinery

        elsewhere = [path for path in sys.path if not _is_own_directory(path)]
        if importlib.machinery.PathFinder.find_spec(name, elsewhere) is not None:
            return [name, inside, "installed"]
    return []


def _is_own_directory(path):
    return relative(_os.path.join(path, "x.py")) is not None if path else True


def _fields(error):
    """What pydantic says of each value, without the values: `[name, kind, message]`, and the model's name."""
    for one in _all_of(error):
        told = getattr(one, "errors", None)
        if not callable(told) or not type(one).__module__.startswith("pydantic"):
            continue
        found = []
        for field in told()[:_CHAIN_MAX]:
            place = ".".join([_text(part) for part in field.get("loc", ())])
            found.append([place[:200], _text(field.get("type", ""))[:100], _text(field.get("msg", ""))[:300]])
        return found, _text(getattr(one, "title", "") or "")[:200]
    return [], ""


def _directory_in_text(error):
    """`Directory 'static' does not exist`, as Starlette says it: relative to where the service runs."""
    import re

    for one in _all_of(error):
        found = re.search("[Dd]irectory '([^']{1,500})' does not exist", _text(one)[:2000])
        if found:
            path = _os.path.normpath(_os.path.join(_os.getcwd(), found.group(1)))
            if path.startswith(_root + _os.sep) and not _os.path.lexists(path):
                return path[len(_root) + 1 :]
    return ""


def _imported_twice(error):
    """Files of the traceback that a module of another name was imported from before."""
    names = {}
    for frame, _ in _traceback.walk_tb(error.__traceback__):
        inside = relative(frame.f_code.co_filename)
        if inside is not None:
            names[inside] = frame.f_globals.get("__name__")
    found = set()
    for module in list(sys.modules.values()):
        inside = relative(getattr(module, "__file__", None))
        if inside in names and names[inside] != getattr(module, "__name__", None):
            found.add(inside)
    return sorted(found)


def describe(error):
    """An exception as data: `type`, `message`, `traceback`, the application's own frames, and more."""
    try:
        return _described(error)
    except BaseException:
        # One that does not let itself be looked at.
        return {"type": type.__getattribute__(type(error), "__name__"), "message": _text(error)}


def _number(value):
    return value if isinstance(value, int) and 0 <= value < 1 << 31 else 0


def _described(error):
    kind = type(error)
    raised = {
        "type": getattr(kind, "__name__", "Exception"),
        "module": _text(getattr(kind, "__module__", "")),
        "message": _at_home(_text(error)),
        "traceback": "",
        "frames": [],
        "read_only": _is_read_only(error),
        "refused": _is_refused(error),
        "network": _is_network(error),
        "undefined": _is_undefined(error),
        "denied": _denied(error),
        "directory": "",
        "beyond": "",
        "settings": _text(_os.environ.get("DJANGO_SETTINGS_MODULE") or "")[:256],
        "unwritten": _unwritten(),
        "twice": [],
    }
    try:
        # An application may have set `sys.tracebacklimit`, which holds where no limit is given.
        told = _traceback.TracebackException(kind, error, error.__traceback__, limit=_DEPTH_MAX)
        frames = [frame for frame in told.stack if not _is_ours(frame)][-_FRAMES_MAX:]
        for frame in frames:
            inside = relative(frame.filename)
            if inside is not None:
                raised["frames"].append(
                    {
                        "file": inside,
                        "line": frame.lineno or 0,
                        "function": frame.name,
                        "code": (frame.line or "")[:200],
                    }
                )
        raised["twice"] = _imported_twice(error)
        raised["hides"] = _hides(error)
        raised["directory"], raised["beyond"] = _missing_directory(error)
        raised["directory"] = raised["directory"] or _directory_in_text(error)
        raised["fields"], raised["title"] = _fields(error)
        _, raised["raised_in"], raised["raised_line"] = _says_where(error)
        raised["below"], raised["importing"], raised["direct"] = _below(error)
        raised["chain"] = _chain(error)
        _strip(told, set())
        raised["traceback"] = _at_home(_text("".join(told.format())))
    except BaseException:
        raised["traceback"] = "%s: %s" % (raised["type"], raised["message"])
    if isinstance(error, SyntaxError):
        raised["syntax"] = {
            "file": relative(error.filename) or "",
            "line": _number(error.lineno),
            "column": _number(error.offset),
            "text": _text(error.msg),
        }
    if isinstance(error, ImportError):
        name = getattr(error, "name", None)
        raised["name"] = _text(name) if name else ""
        module = sys.modules.get(name) if isinstance(name, str) else None
        if module is not None:
            try:
                raised["names"] = [n for n in vars(module) if not n.startswith("__")][:500]
            except BaseException:
                pass
    return raised


def load(module):
    """Imports a module by its dotted name; frames of the import machinery stay out of tracebacks."""
    __import__(module)
    return sys.modules[module]


def attribute_of(module, dotted):
    value = load(module)
    for part in dotted.split("."):
        value = getattr(value, part)
    return value


def _introduce():
    """What markers of requirements speak of, and where packages lie. Nothing that starts a process."""
    host, version = _os.uname(), sys.implementation.version
    number = "%d.%d.%d" % version[:3]
    if version.releaselevel != "final":
        number += version.releaselevel[0] + str(version.serial)
    kind = sys.implementation.name
    return {
        "path": [part for part in sys.path if isinstance(part, str)],
        "prefix": sys.prefix,
        "shared": sys.prefix == sys.base_prefix,
        "markers": {
            "implementation_name": kind,
            "implementation_version": number,
            "os_name": _os.name,
            "platform_machine": host.machine,
            "platform_python_implementation": {"cpython": "CPython", "pypy": "PyPy"}.get(kind, kind),
            "platform_release": host.release,
            "platform_system": host.sysname,
            "platform_version": host.version,
            "python_full_version": sys.version.split()[0],
            "python_version": "%d.%d" % sys.version_info[:2],
            "sys_platform": sys.platform,
        },
    }


_set_import_path()
_note_writes()
_send("!", _introduce())
