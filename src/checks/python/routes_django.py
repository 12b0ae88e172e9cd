# Routes of Django: the URLconf, walked from its root.


def _set_up_django(settings):
    _os.environ["DJANGO_SETTINGS_MODULE"] = settings
    import django

    django.setup()


def _is_django(value):
    kind = type(value)
    return kind.__module__.startswith("django.core.handlers.") and hasattr(value, "get_response")


def _balanced(text, start):
    """Index after the parenthesis that closes the one at `start`."""
    depth = 0
    index = start
    in_set = False
    while index < len(text):
        char = text[index]
        if char == "\\":
            index += 2
            continue
        if in_set:
            in_set = char != "]"
        elif char == "[":
            in_set = True
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
            if depth == 0:
                return index + 1
        index += 1
    return len(text)


def _regex_path(regex):
    """A pattern as a path: groups as parameters, anchors and escapes left out."""
    path = []
    index = 0
    groups = 0
    while index < len(regex):
        char = regex[index]
        if char == "(":
            end = _balanced(regex, index)
            group = regex[index:end]
            name = "%d" % groups
            inner = group[1:-1]
            if inner.startswith("?P<") and ">" in inner:
                name, inner = inner[3:].split(">", 1)
            groups += 1
            inner = inner.replace("{", "(").replace("}", ")")
            path.append("{%s:%s}" % (name, inner))
            index = end
        elif char == "\\" and index + 1 < len(regex):
            after = regex[index + 1]
            if after not in "AZbB":
                path.append(after if not after.isalnum() else char + after)
            index += 2
        else:
            if char not in "^$":
                path.append(char)
            index += 1
    return "".join(path)


def _django_path(pattern):
    route = getattr(pattern, "_route", None)
    if route is not None:
        return _rule_path(route)
    regex = getattr(pattern, "_regex", None)
    if regex is not None:
        return _regex_path(_text(regex))
    # The prefix of the language that is the default.
    return _text(pattern)


def _walk_patterns(walk, resolver, prefix, depth):
    if depth > _DEPTH_MAX:
        return
    for pattern in resolver.url_patterns:
        if walk.full():
            return
        path = prefix + _django_path(pattern.pattern)
        if hasattr(pattern, "url_patterns"):
            _walk_patterns(walk, pattern, path, depth + 1)
            continue
        # A view decides about methods itself: the first pattern that fits gets every request.
        walk.add(path, ["ANY"], pattern.callback)


def _walk_django(walk, prefix):
    from django.urls import get_resolver

    _walk_patterns(walk, get_resolver(), prefix + "/", 0)
