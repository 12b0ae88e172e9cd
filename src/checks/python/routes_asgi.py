# Routes of FastAPI and Starlette applications, and of what is mounted in them.


def _contexts(routes):
    # Newer FastAPI keeps an included router whole and spreads it out on request.
    try:
        from fastapi.routing import iter_route_contexts
    except ImportError:
        return list(routes)
    return list(iter_route_contexts(routes))


def _websocket(route):
    return "WebSocket" in type(route).__name__


def _asgi_methods(context, route, endpoint):
    methods = getattr(context, "methods", None)
    if methods:
        return sorted(_text(method) for method in methods)
    if _websocket(route):
        return ["WEBSOCKET"]
    if isinstance(endpoint, type):
        # An HTTPEndpoint: a method for each verb.
        verbs = ("get", "post", "put", "patch", "delete")
        return [verb.upper() for verb in verbs if callable(getattr(endpoint, verb, None))]
    return []


def _walk_asgi(walk, routes, prefix, depth):
    if depth > _DEPTH_MAX:
        return
    for context in _contexts(routes):
        if walk.full():
            return
        path = prefix + _text(getattr(context, "path", None) or "")
        route = getattr(context, "route", context)
        endpoint = getattr(context, "endpoint", None)
        if endpoint is not None:
            # The pages that FastAPI adds by itself are no service.
            module = getattr(endpoint, "__module__", "")
            walk.add(
                path,
                _asgi_methods(context, route, endpoint),
                endpoint,
                builtin=module == "fastapi.applications",
            )
            continue
        host = getattr(route, "host", None)
        if isinstance(host, str):
            path = "//%s%s" % (host, path)
        inner = getattr(context, "routes", None) or getattr(route, "routes", None)
        if inner:
            _walk_asgi(walk, inner, path, depth + 1)
            continue
        below = _unwrap(getattr(route, "app", None), _FRAMEWORKS)
        if below is not None:
            _walk_application(walk, below, path, depth + 1)
        else:
            # Static files, or an application that nobody can look into.
            walk.add(path, [], None)


def _is_asgi(value):
    return not isinstance(value, type) and not _is_flask(value) and hasattr(value, "routes")
