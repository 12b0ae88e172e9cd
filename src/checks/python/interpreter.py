# What the application's interpreter knows: its own modules, and which of the given names it would find.
# Nothing is imported: finders are asked for top-level names only.
def _look():
    import importlib.util

    builtin = set(sys.builtin_module_names) | set(getattr(sys, "stdlib_module_names", ()))
    found = {}
    for name in given["names"]:
        if name in builtin or name == "__main__":
            found[name] = "standard"
            continue
        try:
            spec = importlib.util.find_spec(name)
        except BaseException:
            # A finder that fails says nothing about the module.
            found[name] = "unknown"
            continue
        if spec is None:
            found[name] = "missing"
            continue
        places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or [])
        inside = [isinstance(place, str) and relative(place) is not None for place in places]
        found[name] = "workspace" if inside and all(inside) else "installed"
    return {"version": list(sys.version_info[:2]), "found": found}


answer(_look())
