# Routes of Flask applications: the rules of the URL map.
import re as _re

_RULE_PART = _re.compile(r"<(?:([^<>:]+(?:\([^)]*\))?):)?([A-Za-z_][A-Za-z0-9_]*)>")


def _is_flask(value):
    return (
        not isinstance(value, type)
        and hasattr(value, "url_map")
        and isinstance(getattr(value, "view_functions", None), dict)
    )


def _rule_path(rule):
    def part(found):
        converter = (found.group(1) or "").replace("{", "(").replace("}", ")")
        if converter in ("", "string", "default"):
            return "{%s}" % found.group(2)
        return "{%s:%s}" % (found.group(2), converter)

    return _RULE_PART.sub(part, _text(rule))


def _walk_flask(walk, app, prefix):
    for rule in app.url_map.iter_rules():
        if walk.full():
            return
        if getattr(rule, "build_only", False):
            continue
        path = prefix + _rule_path(rule.rule)
        host = getattr(rule, "host", None) or getattr(rule, "subdomain", None)
        if host:
            path = "//%s%s" % (_rule_path(host), path)
        view = app.view_functions.get(rule.endpoint)
        static = rule.endpoint == "static" or rule.endpoint.endswith(".static")
        if getattr(rule, "websocket", False):
            methods = ["WEBSOCKET"]
        else:
            methods = sorted(_text(method) for method in rule.methods or ())
        walk.add(path, methods, view, name=_text(rule.endpoint), builtin=static)
    for blueprint in getattr(app, "blueprints", {}).values():
        walk.reached[id(blueprint)] = blueprint
    # Other WSGI applications, dispatched to by path in front of this one.
    _walk_dispatcher(walk, getattr(app, "wsgi_app", None), prefix)


def _walk_dispatcher(walk, wsgi, prefix):
    seen = 0
    while wsgi is not None and seen < _DEPTH_MAX:
        seen += 1
        mounts = getattr(wsgi, "mounts", None)
        if isinstance(mounts, dict):
            for path, inner in mounts.items():
                below = _unwrap(inner, _FRAMEWORKS)
                if below is not None:
                    _walk_application(walk, below, prefix + _text(path), seen)
        wsgi = getattr(wsgi, "app", None)
