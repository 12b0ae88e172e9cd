# The routes that an application serves, and which routers of its source reach it.
import functools as _functools
import inspect as _inspect

_ROUTES_MAX = 20000
_DEPTH_MAX = 32
# What wrappers call the application inside: ASGI and WSGI middleware, socketio.ASGIApp, ...
_INSIDE = ("app", "application", "other_asgi_app", "wsgi_app", "_app", "wrapped", "inner", "asgi_app")
_FRAMEWORKS = (lambda value: _is_flask(value), lambda value: _is_asgi(value), lambda value: _is_django(value))


def _unwrap(value, tests):
    """The application, or the one inside of the middleware around it; None if there is none."""
    waiting = [value]
    seen = set()
    while waiting and len(seen) < 2 * _DEPTH_MAX:
        value = waiting.pop(0)
        if value is None or id(value) in seen:
            continue
        seen.add(id(value))
        if any(test(value) for test in tests):
            return value
        if isinstance(value, (type, str, bytes, int, float, dict, list, tuple)):
            continue
        for name in _INSIDE:
            inner = getattr(value, name, None)
            if inner is not None and not isinstance(inner, (str, bytes)):
                waiting.append(inner)
        # `Flask.wsgi_app` is a method: the application is what it is bound to.
        owner = getattr(value, "__self__", None)
        if owner is not None and not _inspect.ismodule(owner):
            waiting.append(owner)
    return None


def _is_factory(value):
    if isinstance(value, (type, _functools.partial)):
        return True
    return _inspect.isfunction(value) or _inspect.isbuiltin(value)


def _what(value):
    kind = type(value)
    name = "%s.%s" % (kind.__module__, kind.__qualname__)
    if isinstance(value, type):
        name = "the class %s" % value.__qualname__
    elif _inspect.ismodule(value):
        name = "the module %s" % value.__name__
    elif _inspect.isfunction(value):
        name = "the function %s" % value.__qualname__
    return name.replace("builtins.", "")


def _application():
    value = attribute_of(given["module"], given["attribute"])
    named = value
    if given["factory"]:
        if not callable(value):
            raise TypeError(
                "%s:%s cannot be called, it is %s"
                % (given["module"], given["attribute"], _what(value))
            )
        named = value = value()
    found = _unwrap(value, _FRAMEWORKS)
    if found is None and _is_factory(value):
        named = value()
        found = _unwrap(named, _FRAMEWORKS)
    if found is None:
        raise TypeError(
            "%s:%s is no FastAPI, Starlette or Flask application, but %s"
            % (given["module"], given["attribute"], _what(named))
        )
    return found


_LINES = {}


def _class_line(cls):
    """Line of the class: by its name, since to parse each file anew would cost more than all the rest."""
    line = getattr(cls, "__firstlineno__", None)
    if isinstance(line, int):
        return line
    file = getattr(sys.modules.get(cls.__module__), "__file__", None) or ""
    if file not in _LINES:
        import linecache as _linecache

        found = _LINES[file] = {}
        for number, line in enumerate(_linecache.getlines(file), 1):
            words = line.split(None, 1)
            if len(words) == 2 and words[0] == "class":
                name = words[1].split("(")[0].split(":")[0].split("[")[0].strip()
                found.setdefault(name, number)
    return _LINES[file].get(cls.__name__, 0)


def _place(endpoint):
    seen = 0
    while seen < _DEPTH_MAX:
        seen += 1
        # Class based views: Django's and Flask's `as_view`, those of Django REST framework.
        cls = getattr(endpoint, "view_class", None) or getattr(endpoint, "cls", None)
        if isinstance(cls, type):
            endpoint = cls
            break
        inner = getattr(endpoint, "__wrapped__", None) or getattr(endpoint, "func", None)
        if inner is None:
            break
        endpoint = inner
    if isinstance(endpoint, type):
        module = sys.modules.get(endpoint.__module__)
        file = relative(getattr(module, "__file__", None)) or ""
        return file, (_class_line(endpoint) if file else 0)
    code = getattr(endpoint, "__code__", None)
    if code is None:
        return "", 0
    return relative(code.co_filename) or "", code.co_firstlineno


class _Walk:
    def __init__(self):
        self.routes = []
        self.endpoints = {}
        # Blueprints that are registered.
        self.reached = {}

    def full(self):
        return len(self.routes) >= _ROUTES_MAX

    def add(self, path, methods, endpoint, name=None, builtin=False):
        file, line = _place(endpoint) if endpoint is not None else ("", 0)
        if endpoint is not None:
            # Kept alive, so that its identity stays its own.
            self.endpoints[id(endpoint)] = endpoint
        if name is None:
            name = _text(getattr(endpoint, "__name__", "")) if endpoint is not None else ""
        self.routes.append(
            {
                "path": path,
                "methods": methods,
                "endpoint": name,
                "view": id(endpoint),
                "file": file,
                "line": line,
                "builtin": builtin,
            }
        )


def _walk_application(walk, value, prefix, depth):
    if depth > _DEPTH_MAX:
        return
    if _is_flask(value):
        _walk_flask(walk, value, prefix)
    elif _is_django(value):
        _walk_django(walk, prefix)
    else:
        _walk_asgi(walk, value.routes, prefix, depth)


def _router_object(router, modules):
    for module in modules.get(router["file"], ()):
        value = getattr(module, router["name"], None)
        if value is not None:
            return value
    return None


def _is_blueprint(value):
    return hasattr(value, "deferred_functions") and hasattr(value, "_blueprints")


def _routers(mounted):
    """For each router of the source: whether it was imported, and whether the application reaches it."""
    found = []
    endpoints = []
    values = []
    modules = {}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        inside = relative(file) if isinstance(file, str) else None
        if inside is not None:
            modules.setdefault(inside, []).append(module)
    for router in given["routers"]:
        value = _router_object(router, modules)
        entry = {"imported": value is not None, "mounted": False, "routes": 0, "inside": None}
        ids = set()
        if value is not None and _is_blueprint(value):
            entry["routes"] = len(value.deferred_functions) + len(value._blueprints)
            entry["mounted"] = id(value) in mounted.reached
            entry["prefix"] = _text(getattr(value, "url_prefix", "") or "")
        elif value is not None:
            walk = _Walk()
            _walk_asgi(walk, getattr(value, "routes", []), "", 0)
            ids = set(walk.endpoints)
            entry["routes"] = len(walk.routes)
            entry["mounted"] = bool(ids & set(mounted.endpoints))
            entry["prefix"] = _text(getattr(value, "prefix", "") or "")
        if value is not None:
            entry["kind"] = _text(type(value).__name__)
        values.append(value)
        endpoints.append(ids)
        found.append(entry)
    numbers = {id(value): number for number, value in enumerate(values) if value is not None}
    for outer, value in enumerate(values):
        for inner, _ in value._blueprints if value is not None and _is_blueprint(value) else ():
            if id(inner) in numbers and numbers[id(inner)] != outer:
                found[numbers[id(inner)]]["inside"] = outer
    for inner, entry in enumerate(found):
        for outer, ids in enumerate(endpoints):
            if inner == outer or not endpoints[inner] or not endpoints[inner] <= ids:
                continue
            # One that only includes the other has no functions of its own.
            own = [given["routers"][index]["endpoints"] for index in (inner, outer)]
            if endpoints[inner] < ids or own[0] > own[1]:
                entry["inside"] = outer
    return found


def _read():
    try:
        walk = _Walk()
        if given["framework"] == "django":
            _set_up_django(given["module"])
            _walk_django(walk, "")
        else:
            _walk_application(walk, _application(), "", 0)
        return {"routes": walk.routes, "routers": _routers(walk), "full": walk.full()}
    except BaseException as error:
        return {"raised": describe(error)}


answer(_read())
