# The routes that a FastAPI or Starlette application serves, and which routers reach it.
_ROUTES_MAX = 20000


def _application():
    value = attribute_of(given["module"], given["attribute"])
    if not hasattr(value, "routes") and callable(value):
        value = value()
    if not hasattr(value, "routes"):
        raise TypeError(
            "%s:%s is no FastAPI or Starlette application, but %s"
            % (given["module"], given["attribute"], type(value).__name__)
        )
    return value


def _contexts(routes):
    # Newer FastAPI keeps an included router whole and spreads it out on request.
    try:
        from fastapi.routing import iter_route_contexts
    except ImportError:
        return list(routes)
    return list(iter_route_contexts(routes))


def _place(endpoint):
    seen = 0
    while seen < 32:
        seen += 1
        inner = getattr(endpoint, "__wrapped__", None) or getattr(endpoint, "func", None)
        if inner is None:
            break
        endpoint = inner
    code = getattr(endpoint, "__code__", None)
    if code is None:
        return "", 0
    return relative(code.co_filename) or "", code.co_firstlineno


class _Walk:
    def __init__(self):
        self.routes = []
        self.endpoints = {}

    def walk(self, routes, prefix, depth):
        if depth > 32:
            return
        for context in _contexts(routes):
            if len(self.routes) >= _ROUTES_MAX:
                return
            path = prefix + _text(getattr(context, "path", None) or "")
            route = getattr(context, "route", context)
            endpoint = getattr(context, "endpoint", None)
            if endpoint is not None:
                # Kept alive, so that its identity stays its own.
                self.endpoints[id(endpoint)] = endpoint
                self.add(path, self.methods(context, route), endpoint)
                continue
            inner = getattr(context, "routes", None) or getattr(route, "routes", None)
            host = getattr(route, "host", None)
            if isinstance(host, str):
                path = "//%s%s" % (host, path)
            if inner:
                self.walk(inner, path, depth + 1)
            else:
                self.add(path, [], None)

    def methods(self, context, route):
        methods = getattr(context, "methods", None)
        if methods:
            return sorted(_text(method) for method in methods)
        if "WebSocket" in type(route).__name__:
            return ["WEBSOCKET"]
        return []

    def add(self, path, methods, endpoint):
        file, line = _place(endpoint) if endpoint is not None else ("", 0)
        name = _text(getattr(endpoint, "__name__", "")) if endpoint is not None else ""
        self.routes.append(
            {"path": path, "methods": methods, "endpoint": name, "file": file, "line": line}
        )


def _router_object(router):
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and relative(file) == router["file"]:
            return getattr(module, router["name"], None)
    return None


def _routers(mounted):
    """For each router of the source: whether it was imported, and whether the application reaches it."""
    found = []
    endpoints = []
    for router in given["routers"]:
        value = _router_object(router)
        entry = {"imported": value is not None, "mounted": False, "routes": 0, "inside": None}
        ids = set()
        if value is not None:
            walk = _Walk()
            walk.walk(getattr(value, "routes", []), "", 0)
            ids = set(walk.endpoints)
            entry["routes"] = len(walk.routes)
            entry["mounted"] = bool(ids & set(mounted.endpoints))
            entry["prefix"] = _text(getattr(value, "prefix", "") or "")
        endpoints.append(ids)
        found.append(entry)
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
        walk.walk(_application().routes, "", 0)
        return {"routes": walk.routes, "routers": _routers(walk)}
    except BaseException as error:
        return {"raised": describe(error)}


answer(_read())
