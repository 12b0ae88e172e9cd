# The migrations of a Django project as its own loader reads them from disk, and whether its models
# changed since. No connection is opened. Django 3.2 and newer.
import inspect

_MIGRATIONS_MAX = 20000


def _place(migration):
    file = relative(inspect.getsourcefile(type(migration)) or "")
    try:
        line = inspect.getsourcelines(type(migration))[1]
    except Exception:
        line = 0
    return {"file": file or "", "line": line}


def _changes(loader, apps):
    from django.db.migrations.autodetector import MigrationAutodetector
    from django.db.migrations.questioner import NonInteractiveMigrationQuestioner
    from django.db.migrations.state import ProjectState

    questioner = NonInteractiveMigrationQuestioner(specified_apps=set(), dry_run=True)
    detector = MigrationAutodetector(loader.project_state(), ProjectState.from_apps(apps), questioner)
    found = []
    for app, migrations in sorted(detector.changes(graph=loader.graph).items()):
        steps = [_text(op.describe()) for m in migrations for op in m.operations]
        own = relative(getattr(apps.get_app_config(app).module, "__file__", None))
        found.append({"app": app, "steps": steps[:50], "ours": own is not None})
    return found


def _alias():
    """The alias under which the settings know the SQLite file that is asked about."""
    from django.conf import settings

    wanted = given.get("database")
    for alias, database in settings.DATABASES.items():
        name = str(database.get("NAME") or "")
        if wanted and name and str(database.get("ENGINE")).endswith("sqlite3"):
            if _os.path.realpath(_os.path.join(_root, name)) == _os.path.realpath(wanted):
                return _text(alias)
    return "default"


def _read():
    try:
        _os.environ["DJANGO_SETTINGS_MODULE"] = given["settings"]
        import django

        django.setup()
        from django.apps import apps
        from django.db.migrations.loader import MigrationLoader

        loader = MigrationLoader(None, ignore_no_migrations=True)
        graph = loader.graph
        order = []
        for leaf in sorted(graph.leaf_nodes()):
            for key in graph.forwards_plan(leaf):
                if key not in order:
                    order.append(key)
        # Those that a squashed migration replaces are no part of the graph until it is known what
        # was applied; they come in front of what replaces them.
        placed = []
        for key in order:
            replaced = getattr(loader.disk_migrations.get(key), "replaces", [])
            placed += [tuple(r) for r in replaced if tuple(r) in loader.disk_migrations]
            placed.append(key)
        migrations = []
        for key in dict.fromkeys(placed[:_MIGRATIONS_MAX]):
            migration = loader.disk_migrations.get(key)
            if migration is None:
                continue
            entry = _place(migration)
            entry.update(app=key[0], name=key[1])
            entry["replaces"] = [list(r) for r in migration.replaces]
            migrations.append(entry)
        return {
            "alias": _alias(),
            "apps": sorted(loader.migrated_apps),
            "migrations": migrations,
            "conflicts": [
                {"app": app, "leaves": list(names)}
                for app, names in sorted(loader.detect_conflicts().items())
            ],
            "changes": [] if loader.detect_conflicts() else _changes(loader, apps),
        }
    except BaseException as error:
        return {"raised": describe(error)}


answer(_read())
