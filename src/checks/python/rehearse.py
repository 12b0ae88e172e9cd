# Imports the modules of one layer in their order, then calls its callable; notes the time that each import
# took, and what was done meanwhile that a dry run should not do.
_EFFECTS_MAX = 64
_SLOWEST = 5
_STACK_MAX = 400
_FILES_MAX = 5000
# A script that nothing guards is a program; longer it is not watched.
_SCRIPT_S = 5
# For the end of an application that was started.
_SHUTDOWN_S = 1
# Who wants this import too has asked long before it is done, but for a very short one.
_SERVE_S = 0.05
# What of the audit events (PEP 578) counts as what.
_EFFECTS = {
    "open": "write",
    "os.mkdir": "write",
    "os.rename": "write",
    "os.remove": "write",
    "os.rmdir": "write",
    "os.link": "write",
    "os.symlink": "write",
    "os.truncate": "write",
    "subprocess.Popen": "process",
    "os.system": "process",
    "os.fork": "process",
    "os.forkpty": "process",
    "os.exec": "process",
    "os.posix_spawn": "process",
    "pty.spawn": "process",
    "socket.connect": "connect",
    "socket.sendto": "connect",
    "socket.sendmsg": "connect",
    "socket.getaddrinfo": "resolve",
    "socket.gethostbyname": "resolve",
    "socket.bind": "listen",
    "_thread.start_new_thread": "thread",
    "_thread.start_joinable_thread": "thread",
}

# One more frame of the import machinery, by its name, so that warnings and tracebacks leave it out too.
_TIMED = """
def _find_and_load(name, import_):
    begin(name)
    try:
        return find_and_load(name, import_)
    finally:
        end()
"""


class _Imports:
    """Each module's own time, as `-X importtime` counts it: without the modules that it imports."""

    def __init__(self):
        self.own_us = {}
        self.stacks = {}
        self.begun = 0

    def install(self):
        import _thread
        import _frozen_importlib

        clock, ident = _time.perf_counter_ns, _thread.get_ident
        own_us, stacks = self.own_us, self.stacks

        def begin(name):
            stacks.setdefault(ident(), []).append([name, clock(), 0])

        def end():
            name, begun, inside = stacks[ident()].pop()
            took = clock() - begun
            own_us[name] = own_us.get(name, 0) + (took - inside) // 1000
            if stacks[ident()]:
                stacks[ident()][-1][2] += took

        scope = {
            "begin": begin,
            "end": end,
            "find_and_load": _frozen_importlib._find_and_load,
            "__name__": "importlib._bootstrap",
            "__builtins__": __builtins__,
        }
        exec(compile(_TIMED, "<frozen importlib._bootstrap>", "exec"), scope)
        _frozen_importlib._find_and_load = scope["_find_and_load"]

    def slowest(self):
        times = sorted(list(self.own_us.items()), key=lambda pair: -pair[1])
        return [[_text(name), us // 1000] for name, us in times[:_SLOWEST] if us >= 1000]


class _Effects:
    """What the application did, with its own frame that did it."""

    def __init__(self):
        self.found = {}
        self.started = {}
        self.more = 0
        self.watching = False
        self.kinds = {}
        self.library = _os.path.dirname(_os.path.realpath(_os.__file__)) + _os.sep
        scratch = [_os.environ.get(name, "") for name in ("HOME", "TMPDIR")]
        self.ignored = tuple(
            [directory.rstrip("/") + "/" for directory in scratch if directory] + ["/dev/", "/proc/"]
        )

    def install(self):
        names, note = _EFFECTS, self.note
        writing = _os.O_WRONLY | _os.O_RDWR | _os.O_CREAT | _os.O_TRUNC | _os.O_APPEND

        def hook(event, args):
            kind = names.get(event)
            if kind is None or not self.watching:
                return
            if event == "open" and not (isinstance(args[2], int) and args[2] & writing):
                return
            try:
                note(kind, event, args)
            except BaseException:
                # What cannot be noted must not disturb the application.
                pass

        sys.addaudithook(hook)

    def note(self, kind, event, args):
        what = self.words(kind, event, args)
        if what is None:
            return
        place, package = self.place(sys._getframe(2))
        key = (kind, what, place.get("file"), place.get("line"))
        if kind == "thread":
            if len(self.started) < _EFFECTS_MAX:
                self.started[id(getattr(args[0], "__self__", None))] = (place, package)
        elif key not in self.found:
            if len(self.found) >= _EFFECTS_MAX:
                self.more += 1
                return
            self.found[key] = dict(place, kind=kind, what=what, package=package)

    def words(self, kind, event, args):
        """What was done, in words; None if it is of no interest."""
        if kind == "write":
            path = args[0]
            if isinstance(path, bytes):
                path = _os.fsdecode(path)
            elif not isinstance(path, str):
                path = getattr(path, "__fspath__", lambda: None)()
            if not isinstance(path, str):
                return None
            path = _os.path.normpath(_os.path.join(_given["root"], path))
            # A workspace may lie in a directory for temporary files.
            if (path + "/").startswith(self.ignored) and not path.startswith(_root + "/"):
                return None
            return _at_home(path)
        if kind == "process":
            command = args[1] if event in ("subprocess.Popen", "pty.spawn") else args
            if isinstance(command, (list, tuple)):
                command = command[0] if command else ""
                command = command[0] if isinstance(command, (list, tuple)) and command else command
            if isinstance(command, bytes):
                command = _os.fsdecode(command)
            command = _text(command or "").split(" ")[0]
            return "%s %s" % (event, command) if command else event
        if kind == "thread":
            return ""
        if kind == "resolve":
            name = args[0]
            # Without a name, or for the host itself, nothing is asked.
            return None if name in (None, "", b"", "localhost") else _text(name)
        address = args[-1]
        if kind == "listen" and isinstance(address, tuple) and address[1:2] == (0,):
            # Any free port: how libraries find out whether there is IPv6.
            return None
        if isinstance(address, tuple) and len(address) >= 2:
            return "%s:%s" % (_text(address[0]), _text(address[1]))
        if isinstance(address, bytes):
            address = _os.fsdecode(address)
        return _text(address)

    def place(self, frame):
        """The application's innermost frame, and the package that was between it and what was done."""
        package = None
        depth = 0
        while frame is not None and depth < _STACK_MAX:
            depth += 1
            code = frame.f_code
            kind = self.kind(code.co_filename)
            if kind == "ubs":
                break
            if kind == "package" and package is None:
                package = _text(frame.f_globals.get("__name__") or "?").split(".")[0]
            elif kind == "own":
                place = {
                    "file": relative(code.co_filename),
                    "line": frame.f_lineno or 0,
                    "function": code.co_name,
                }
                return place, package or ""
            frame = frame.f_back
        return {"file": "", "line": 0, "function": ""}, package or ""

    def kind(self, file):
        kind = self.kinds.get(file)
        if kind is None:
            if file == "<ubs>":
                kind = "ubs"
            elif file.startswith("<frozen"):
                kind = "library"
            elif relative(file) is not None:
                kind = "own"
            elif file.startswith(self.library) and "-packages" not in file:
                kind = "library"
            else:
                kind = "package"
            self.kinds[file] = kind
        return kind

    def noted(self):
        """Everything, with the threads that still run."""
        self.watching = False
        found = list(self.found.values())
        try:
            found += self.threads_left()
        except BaseException:
            # The application put something else in the place of `threading`.
            pass
        for effect in found:
            effect["what"] = _text(effect["what"])[:300]
        return found

    def threads_left(self):
        threading = sys.modules.get("threading")
        if threading is None:
            return []
        frames = sys._current_frames()
        left = []
        for thread in list(threading.enumerate())[:_EFFECTS_MAX]:
            if thread is threading.main_thread() or thread.ident not in frames:
                continue
            # Where it was started is not told by every Python; where it is, always.
            place, package = self.started.get(id(thread)) or self.place(frames[thread.ident])
            code = getattr(getattr(thread, "_target", None), "__code__", None)
            if not place["file"] and code is not None and self.kind(code.co_filename) == "own":
                inside = relative(code.co_filename)
                place = {"file": inside, "line": code.co_firstlineno, "function": code.co_name}
            what = _text(thread.name)
            left.append(dict(place, kind="thread", what=what, package=package))
        return left


def _files(library):
    """The application's own files among the modules that were imported."""
    found = set()
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or "-packages" in file or file.startswith(library):
            continue
        inside = relative(file)
        if inside is not None:
            found.add(inside)
    return sorted(found)[:_FILES_MAX]


class _TimeUp(BaseException):
    """A script without a main guard ran for as long as it is given."""


def _run_script(path):
    """A script up to its main guard: no package, under the name that `multiprocessing` gives it in a child."""
    import types

    path = _os.path.join(_os.getcwd(), path)
    with open(path, "rb") as file:
        source = file.read()
    module = types.ModuleType("__mp_main__")
    module.__file__ = path
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    sys.argv[:] = [path]
    code = compile(source, path, "exec", dont_inherit=True)
    if b"__main__" in source:
        exec(code, module.__dict__)
    else:
        _within(_SCRIPT_S, exec, code, module.__dict__)


def _load_celery(module):
    """`celery -A x` takes `x`, or `x.celery` if `x` has no application."""
    if module != given["celery"]:
        return
    names = vars(sys.modules[module])
    if "app" not in names and "celery" not in names and "__path__" in names:
        load(module + ".celery")


def _load_tasks(module):
    """What a worker of Celery does first: its settings, the modules of its tasks."""
    celery = sys.modules.get("celery")
    if celery is None or not given.get("tasks") or module not in (given["celery"], (given.get("named") or [""])[0]):
        return
    names = vars(sys.modules[module])
    inner = vars(sys.modules.get(module + ".celery", sys.modules[module]))
    wanted = (given.get("named") or ["", "app"])[1]
    for value in (names.get(wanted), names.get("app"), names.get("celery"), inner.get("app"), inner.get("celery")):
        if isinstance(value, celery.Celery):
            value.conf.get("broker_url")
            value.loader.import_default_modules()
            return


# The application object, once its start-up began.
_started = []


class _StartFailed(Exception):
    """The application says that it could not start, and raises nothing."""


async def _lifespan(application):
    """The start-up of an ASGI application and its end, as a server has them (ASGI, lifespan protocol)."""
    import asyncio

    said, told = asyncio.Queue(), asyncio.Queue()
    told.put_nowait({"type": "lifespan.startup"})
    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
    task = asyncio.ensure_future(application(scope, told.get, said.put))
    answer = asyncio.ensure_future(said.get())
    await asyncio.wait([task, answer], return_when=asyncio.FIRST_COMPLETED)
    if not answer.done():
        # An application without a lifespan returns, or refuses such a scope: servers go on then.
        answer.cancel()
        task.cancelled() or task.exception()
        return
    event = answer.result()
    told.put_nowait({"type": "lifespan.shutdown"})
    await asyncio.wait([task], timeout=_SHUTDOWN_S)
    if event.get("type") == "lifespan.startup.failed":
        error = task.exception() if task.done() and not task.cancelled() else None
        raise error or _StartFailed(_text(event.get("message") or "the application gives no reason"))
    task.done() and (task.cancelled() or task.exception())


def _object_of(startup):
    """The application object, found as its server finds it."""
    module, name, factory = startup["module"], startup["attribute"], startup["factory"]
    if "(" in name:
        # Flask and Gunicorn read a call, whose arguments are literals.
        import ast

        call = ast.parse(name.strip(), mode="eval").body
        given = [ast.literal_eval(one) for one in call.args]
        named = {one.arg: ast.literal_eval(one.value) for one in call.keywords}
        return attribute_of(module, call.func.id)(*given, **named)
    if name:
        value = attribute_of(module, name)
    else:
        names = vars(load(module))
        value = names.get("app", names.get("application"))
        if value is None:
            value = names.get("create_app", names.get("make_app"))
            factory = value is not None
    return value() if factory else value


def _start_up(startup):
    """What a server does with the application object before it answers."""
    import inspect

    value = _object_of(startup)
    _started.append(value)
    call = getattr(type(value), "__call__", None)
    if startup["lifespan"] and (inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(call)):
        import asyncio

        asyncio.run(_lifespan(value))


def _within(seconds, work, *args):
    """Does it, or raises `_TimeUp` after so long."""
    import signal

    def time_is_up(*_):
        raise _TimeUp()

    signal.signal(signal.SIGALRM, time_is_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        work(*args)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _rehearse():
    imports, effects = _Imports(), _Effects()
    rehearsed = {"times": [], "step": ""}
    try:
        imports.install()
    except BaseException:
        # An interpreter that imports in another way: its times are not known.
        pass
    effects.install()
    effects.watching = True
    clock = _time.monotonic
    try:
        for module in given["imports"]:
            rehearsed["step"] = module
            begun = clock()
            script = given["scripts"].get(module)
            if script:
                rehearsed["step"] = script
                _run_script(script)
            else:
                load(module)
                _load_celery(module)
                named = given.get("named")
                if named and named[0] == module:
                    attribute_of(module, named[1])
                _load_tasks(module)
            rehearsed["times"].append([module, int((clock() - begun) * 1000)])
        call = given["call"]
        if call:
            rehearsed["step"] = "%s()" % call
            module, _, attribute = call.partition(":")
            value = attribute_of(module, attribute)()
            if hasattr(value, "__await__"):
                import asyncio

                async def _wait():
                    return await value

                asyncio.run(_wait())
        rehearsed["step"] = ""
        startup = given["startup"]
        if startup:
            # What a start-up does beside is its business; only an import should do nothing else.
            effects.watching = False
            rehearsed["step"] = "%s:%s" % (startup["module"], startup["attribute"])
            rehearsed["starting"] = True
            _send("+", {})
            _within(startup["seconds"], _start_up, startup)
            rehearsed["step"] = ""
    except _TimeUp:
        rehearsed["undecided"] = True
    except SystemExit as error:
        effects.watching = False
        # A script that ends well is done.
        if given["scripts"] and error.code in (None, 0):
            rehearsed["step"] = ""
        else:
            rehearsed["raised"] = describe(error)
    except BaseException as error:
        effects.watching = False
        rehearsed["raised"] = describe(error)
    try:
        rehearsed["slowest"] = imports.slowest()
        rehearsed["effects"] = effects.noted()
        rehearsed["effects_more"] = effects.more
        rehearsed["files"] = _files(effects.library)
    except BaseException:
        pass
    return rehearsed


def _serve(rehearsed):
    """Other checks that need the same import, and nothing else, ask here instead of importing it again.

    Their programs run after this one has answered. Who asks too late imports it itself.
    """
    clock = _time.monotonic
    begun = clock()
    for _ in range(given["serve"]):
        if not _wait([_more], [], [], _SERVE_S)[0]:
            break
        asked = _read_frame(_more)
        if asked is None:
            break
        if "raised" in rehearsed and not rehearsed.get("starting"):
            _send(asked["mark"], {"raised": rehearsed["raised"]})
            continue

        def reply(document, mark=asked["mark"]):
            _send(mark, document)

        scope = dict(globals(), given=asked["input"], answer=reply)
        exec(compile(asked["program"], "<ubs>", "exec"), scope)
    _send("~", {"serving_ms": int((clock() - begun) * 1000)})


# What a first request would find at once, and the import does not: told after everything else, since it changes what
# it looks at.
_TOLD_MAX = 20
_TEMPLATES_MAX = 200
_NESTED_MAX = 12


def _own_place(kind):
    """File and line of a class of the application's own; `None` of any other."""
    module = sys.modules.get(getattr(kind, "__module__", None))
    file = relative(getattr(module, "__file__", None))
    if file is None or "-packages" in file:
        return None
    try:
        import inspect

        return {"file": file, "line": inspect.getsourcelines(kind)[1]}
    except (OSError, TypeError):
        return {"file": file, "line": 0}


def _told(kind, place, named, error, certain):
    message = "%s: %s" % (type(error).__name__, _text(error)) if isinstance(error, BaseException) else error
    first = _text(message).strip().split("\n")[0]
    told = {"kind": kind, "named": _text(named), "message": first[:600], "certain": bool(certain)}
    return dict(place, **told)


def _mapped():
    """The mapped classes that SQLAlchemy has not left for later, and whether it has all of them."""
    mapping = sys.modules.get("sqlalchemy.orm.mapper")
    registries = getattr(mapping, "_all_registries", None)
    if registries is None or "sqlalchemy.ext.automap" in sys.modules:
        return []
    declared = sys.modules.get("sqlalchemy.orm.decl_base")
    for name in ("_DeferredMapperConfig", "_DeferredDeclarativeConfig"):
        # They are mapped when the application has a database to read.
        if getattr(getattr(declared, name, None), "_configs", None):
            return []
    return [mapper for registry in registries() for mapper in list(registry.mappers)]


def _mappers():
    """SQLAlchemy puts its mappers together when the first one is used, and if one fails, none can be used."""
    import re

    mappers = _mapped()
    if not mappers:
        return []
    errors = sys.modules["sqlalchemy.exc"]
    found = []
    for registry in {mapper.registry for mapper in mappers}:
        try:
            registry.configure(cascade=True)
        except (errors.ArgumentError, errors.InvalidRequestError):
            pass
        except Exception:
            # What the application does on that occasion may want a database.
            return []
    for mapper in mappers:
        place = _own_place(mapper.class_)
        if place is None:
            continue
        error = getattr(mapper, "_configure_failed", None)
        if isinstance(error, (errors.ArgumentError, errors.InvalidRequestError)):
            name = re.search("failed to locate a name \\((?:\"name )?'([^']{1,200})'", _text(error))
            named = getattr(error, "table_name", None) or (name.group(1) if name else "")
            found.append(_told("mapper", place, named, error, True))
            continue
        for key in getattr(mapper.local_table, "foreign_keys", ()):
            try:
                key.column
            except errors.NoReferencedTableError as error:
                found.append(_told("key", place, getattr(error, "table_name", ""), error, False))
                break
            except Exception:
                break
    return found


def _classes_in(annotation, seen, depth=0):
    """The classes that a value of this type is made of."""
    if depth > _NESTED_MAX or len(seen) > _FILES_MAX:
        return
    if isinstance(annotation, type):
        if annotation in seen:
            return
        seen.add(annotation)
        for field in list((getattr(annotation, "model_fields", None) or {}).values()):
            _classes_in(getattr(field, "annotation", None), seen, depth + 1)
    for part in getattr(annotation, "__args__", ()) or ():
        _classes_in(part, seen, depth + 1)


def _route_classes():
    """What the routes of the application that was started take and answer."""
    seen = set()
    for application in _started:
        for route in list(getattr(application, "routes", ())):
            for name in ("body_field", "response_field"):
                field = getattr(route, name, None)
                _classes_in(getattr(field, "type_", None), seen)
                _classes_in(getattr(getattr(field, "field_info", None), "annotation", None), seen)
    return seen


def _models():
    """Models of pydantic whose types are named and not found, as a first value of them would find out."""
    base = getattr(sys.modules.get("pydantic.main"), "BaseModel", None)
    if base is None or not hasattr(base, "model_rebuild"):
        return []
    found, waiting, known = [], list(base.__subclasses__()), set()
    used = None
    while waiting and len(known) < _FILES_MAX:
        kind = waiting.pop()
        if kind in known:
            continue
        known.add(kind)
        waiting += kind.__subclasses__()
        if vars(kind).get("__pydantic_complete__") is not False:
            continue
        place = _own_place(kind)
        if place is None or vars(kind).get("__pydantic_generic_metadata__", {}).get("parameters"):
            continue
        try:
            kind.model_rebuild(raise_errors=True)
        except Exception as error:
            if type(error).__name__ != "PydanticUndefinedAnnotation":
                continue
            used = _route_classes() if used is None else used
            what = "%s names the type %s, which is not defined" % (kind.__name__, _text(getattr(error, "name", "?")))
            found.append(_told("type", place, getattr(error, "name", ""), what, kind in used))
    return found


def _binds():
    """Keys of databases that models of Flask-SQLAlchemy name, and that its settings do not."""
    found = []
    for application in _started:
        extensions = getattr(application, "extensions", None)
        database = extensions.get("sqlalchemy") if isinstance(extensions, dict) else None
        if not hasattr(database, "metadatas") or not hasattr(database, "engines"):
            continue
        with application.app_context():
            engines = set(database.engines)
        for mapper in _mapped():
            key = getattr(mapper.class_, "__bind_key__", None)
            place = _own_place(mapper.class_)
            if isinstance(key, str) and key in database.metadatas and key not in engines and place is not None:
                what = "%s lies in the database %r, which SQLALCHEMY_BINDS does not name" % (
                    mapper.class_.__name__,
                    key,
                )
                found.append(_told("bind", place, key, what, True))
    return found


def _templates():
    """Templates that the application's own code renders by a literal name, and that its loaders do not have."""
    import re

    jinja = sys.modules.get("jinja2")
    if jinja is None or not _started:
        return []
    flask = [one.jinja_env for one in _started if hasattr(one, "jinja_env") and hasattr(one, "blueprints")]
    other = []
    for module in list(sys.modules.values()):
        if relative(getattr(module, "__file__", None)) is not None:
            for value in list(vars(module).values()):
                if type(value).__name__ == "Jinja2Templates":
                    other.append(value.env)
    call = re.compile("\\b(render_template|TemplateResponse)\\(\\s*(?:request,\\s*)?(?:name=)?[\"']([^\"'{}%]{1,200})[\"']")
    found = []
    for file in _files("<none>"):
        try:
            with open(_os.path.join(_root, file), encoding="utf-8") as opened:
                text = opened.read()
        except (OSError, ValueError):
            continue
        for match in list(call.finditer(text))[:_TEMPLATES_MAX]:
            environments = flask if match.group(1) == "render_template" else other
            start = text.rfind("\n", 0, match.start()) + 1
            if not environments or "#" in text[start : match.start()]:
                continue
            if not any(_has_template(environment, match.group(2)) for environment in environments):
                place = {"file": file, "line": text.count("\n", 0, match.start()) + 1}
                what = "the template %s is in none of the directories of templates" % match.group(2)
                found.append(_told("template", place, match.group(2), what, False))
    return found


def _has_template(environment, name):
    """Whether a loader finds it, or cannot say."""
    try:
        environment.loader.get_source(environment, name)
    except Exception as error:
        return type(error).__name__ != "TemplateNotFound"
    return True


def _sockets():
    """Uvicorn answers a WebSocket only with a library that it does not need otherwise."""
    import importlib.util

    if given.get("tool") != "uvicorn" or any(importlib.util.find_spec(n) for n in ("websockets", "wsproto")):
        return []
    for application in _started:
        for route in list(getattr(application, "routes", ())):
            code = getattr(getattr(route, "endpoint", None), "__code__", None)
            file = relative(getattr(code, "co_filename", None))
            if type(route).__name__.endswith("WebSocketRoute") and file is not None:
                what = "Uvicorn answers no WebSocket without the package websockets or wsproto"
                return [_told("socket", {"file": file, "line": code.co_firstlineno}, "", what, False)]
    return []


def _hosts():
    """Django answers nobody when its list of hosts is empty, and its own server does not even start."""
    settings = getattr(sys.modules.get("django.conf"), "settings", None)
    if settings is None or not settings.configured or settings.DEBUG or settings.ALLOWED_HOSTS:
        return []
    if not given.get("serves"):
        return []
    name = _os.environ.get("DJANGO_SETTINGS_MODULE") or "?"
    if given["tool"] == "manage.py":
        # It may have other settings than the module that was imported.
        with open("manage.py", encoding="utf-8") as opened:
            if name not in opened.read():
                return []
    module = sys.modules.get(name)
    file = relative(getattr(module, "__file__", None))
    if file is None:
        return []
    with open(_os.path.join(_root, file), encoding="utf-8") as opened:
        lines = opened.read().split("\n")
    at = [number for number, line in enumerate(lines, 1) if line.startswith("ALLOWED_HOSTS")]
    what = "ALLOWED_HOSTS is empty and DEBUG is off, so Django refuses every request"
    return [_told("hosts", {"file": file, "line": at[-1] if at else 0}, "", what, given["tool"] == "manage.py")]


def _first_use():
    found = []
    for look in (_mappers, _models, _binds, _templates, _sockets, _hosts):
        try:
            found += look()
        except Exception:
            # A version that is made in another way: nothing is known.
            pass
    return found[:_TOLD_MAX]


if given["serve"]:
    from select import select as _wait

_rehearsed = _rehearse()
_send("", _rehearsed)
if given["serve"]:
    _serve(_rehearsed)
if "raised" not in _rehearsed and not _rehearsed.get("undecided"):
    _send("^", {"told": _first_use()})
_leave(0)
