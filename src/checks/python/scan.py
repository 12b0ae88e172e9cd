# Reads the application's source without running it: where tables are defined, and in which
# order a set of entry modules would import them. What cannot be told for sure is said to be unsure.
import ast as _ast

_FILES_MAX = 20000
_FILE_BYTES_MAX = 2 << 20
_RESULTS_MAX = 5000
_DEPTH_MAX = 40
_SKIPPED = {"venv", "node_modules", "__pycache__", "site-packages", "dist-packages"}
_ROOT_BASES = {"DeclarativeBase", "DeclarativeBaseNoMeta"}
_BASE_FACTORIES = {"declarative_base", "automap_base", "generate_base"}


def _is_true(node):
    return isinstance(node, _ast.Constant) and node.value is True


def _string(node):
    if isinstance(node, _ast.Constant) and isinstance(node.value, str):
        return node.value
    return None


def _is_type_checking(test):
    name = test.attr if isinstance(test, _ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


def _assigned(statement):
    """Names and value of an assignment statement."""
    if isinstance(statement, _ast.Assign):
        return [t.id for t in statement.targets if isinstance(t, _ast.Name)], statement.value
    if isinstance(statement, _ast.AnnAssign) and isinstance(statement.target, _ast.Name):
        return [statement.target.id], statement.value
    return [], None


def _body_value(node, name):
    """The value that a class body gives a name last, and whether there is one."""
    found = None
    for statement in node.body:
        names, value = _assigned(statement)
        if name in names and value is not None:
            found = value
        elif getattr(statement, "name", None) == name:
            found = statement
    return found


class _File:
    """One parsed source file."""

    def __init__(self, path, tree):
        self.path = path
        self.tree = tree
        self.names = {}
        self.stars = []
        self.package = []
        self.bind(tree.body)

    def bind(self, body):
        for statement in body:
            if isinstance(statement, _ast.Import):
                for alias in statement.names:
                    if alias.asname:
                        self.put(alias.asname, ("import", alias.name))
                    else:
                        self.put(alias.name.split(".")[0], ("import", alias.name.split(".")[0]))
            elif isinstance(statement, _ast.ImportFrom):
                for alias in statement.names:
                    if alias.name == "*":
                        self.stars.append(statement)
                    else:
                        self.put(alias.asname or alias.name, ("from", statement, alias.name))
            elif isinstance(statement, _ast.ClassDef):
                self.put(statement.name, ("class", statement))
            elif isinstance(statement, (_ast.FunctionDef, _ast.AsyncFunctionDef)):
                self.put(statement.name, ("function", statement))
            elif isinstance(statement, _ast.If):
                self.bind(statement.body)
                self.bind(statement.orelse)
            elif isinstance(statement, _ast.Try):
                self.bind(statement.body)
                for handler in statement.handlers:
                    self.bind(handler.body)
                self.bind(statement.orelse)
                self.bind(statement.finalbody)
            else:
                names, value = _assigned(statement)
                for name in names:
                    self.put(name, ("assign", value))

    def put(self, name, binding):
        self.names.setdefault(name, []).append(binding)


class _Source:
    def __init__(self):
        self.paths = []
        self.modules = {}
        self.parsed = {}
        self.truncated = False
        for root in given["roots"]:
            self.walk(root)

    def walk(self, root):
        top = _os.path.normpath(_os.path.join(_root, root))
        known = set(self.paths)
        for directory, directories, files in _os.walk(top):
            directories[:] = sorted(
                d
                for d in directories
                if not d.startswith(".")
                and d not in _SKIPPED
                and not _os.path.exists(_os.path.join(directory, d, "pyvenv.cfg"))
            )
            for file in sorted(files):
                if not file.endswith(".py"):
                    continue
                if len(self.paths) >= _FILES_MAX:
                    self.truncated = True
                    return
                path = _os.path.join(directory, file)
                inside = _os.path.relpath(path, _root)
                if inside.startswith(".."):
                    continue
                if inside not in known:
                    known.add(inside)
                    self.paths.append(inside)
                parts = _os.path.relpath(path, top)[:-3].split(_os.sep)
                if parts[-1] == "__init__":
                    parts.pop()
                if parts:
                    self.modules.setdefault(".".join(parts), inside)

    def read(self, path):
        full = _os.path.join(_root, path)
        try:
            if not _os.path.isfile(full) or _os.path.getsize(full) > _FILE_BYTES_MAX:
                return None
            with open(full, "rb") as file:
                return file.read(_FILE_BYTES_MAX + 1)
        except OSError:
            return None

    def file(self, path):
        if path not in self.parsed:
            self.parsed[path] = None
            data = self.read(path)
            try:
                if data is not None:
                    self.parsed[path] = _File(path, _ast.parse(data))
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                # The rehearsal says it when something imports the file.
                pass
        return self.parsed[path]

    def module_of(self, path):
        for name, known in self.modules.items():
            if known == path:
                return name
        return None

    def from_module(self, path, statement):
        """The absolute name of the module that `from ... import` names in that file."""
        if not statement.level:
            return statement.module or ""
        own = self.module_of(path)
        if own is None:
            return None
        parts = own.split(".")
        if not path.endswith("__init__.py"):
            parts.pop()
        up = statement.level - 1
        if up > len(parts):
            return None
        parts = parts[: len(parts) - up]
        return ".".join(parts + ([statement.module] if statement.module else []))

    # What a name means: ("class", file, name, node), ("assign", file, name, value), ("module", name),
    # ("external", dotted name), ("member", thing, attribute); None where it cannot be told.

    def resolve(self, path, name, depth=0):
        file = self.file(path)
        if file is None or depth > _DEPTH_MAX:
            return None
        bindings = file.names.get(name)
        if not bindings:
            for star in file.stars:
                module = self.from_module(path, star)
                inside = self.modules.get(module)
                found = self.resolve(inside, name, depth + 1) if inside else None
                if found is not None:
                    return found
            return None
        own = [b for b in bindings if b[0] in ("class", "assign", "function")]
        if len(own) > 1:
            return None
        binding = own[0] if own else bindings[0]
        if binding[0] == "import":
            return self.module(binding[1])
        if binding[0] == "from":
            module = self.from_module(path, binding[1])
            return None if module is None else self.member(self.module(module), binding[2], depth)
        if binding[0] == "function":
            return None
        return (binding[0], path, name, binding[1])

    def module(self, name):
        top = name.split(".")[0]
        if name in self.modules or top in self.modules or any(
            known.startswith(top + ".") for known in self.modules
        ):
            return ("module", name)
        return ("external", name)

    def member(self, thing, attribute, depth):
        if thing is None:
            return None
        if thing[0] == "external":
            return ("external", thing[1] + "." + attribute)
        if thing[0] == "module":
            inside = self.modules.get(thing[1])
            found = self.resolve(inside, attribute, depth + 1) if inside else None
            if found is None and thing[1] + "." + attribute in self.modules:
                return ("module", thing[1] + "." + attribute)
            return found
        return ("member", thing, attribute)

    def expression(self, path, node, depth=0):
        if depth > _DEPTH_MAX:
            return None
        if isinstance(node, _ast.Name):
            found = self.resolve(path, node.id, depth)
        elif isinstance(node, _ast.Attribute):
            found = self.member(self.expression(path, node.value, depth + 1), node.attr, depth)
        elif isinstance(node, _ast.Subscript):
            # `Generic[T]`.
            return self.expression(path, node.value, depth + 1)
        else:
            return None
        if found and found[0] == "assign" and isinstance(found[3], (_ast.Name, _ast.Attribute)):
            return self.expression(found[1], found[3], depth + 1)
        return found

    # Which MetaData a thing belongs to, as a text; None where it cannot be told.

    def metadata(self, thing, depth=0):
        if thing is None or depth > _DEPTH_MAX:
            return None
        if thing[0] == "class":
            return self.of_class(thing[1], thing[3], depth + 1)[0]
        if thing[0] == "member":
            if thing[2] in ("metadata", "Model", "Table"):
                return self.metadata(thing[1], depth + 1)
            return None
        if thing[0] == "external":
            return thing[1] if thing[1].endswith(".SQLModel") else None
        if thing[0] != "assign" or not isinstance(thing[3], _ast.Call):
            return None
        _, path, name, call = thing
        for keyword in call.keywords:
            if keyword.arg == "metadata":
                return self.metadata(self.expression(path, keyword.value), depth + 1)
            if keyword.arg is None:
                return None
        made_by = self.expression(path, call.func, depth + 1)
        if made_by is None:
            return None
        if made_by[0] == "member" and made_by[2] == "generate_base":
            return "%s:%s" % (path, name)
        last = made_by[1].split(".")[-1] if made_by[0] == "external" else ""
        if last in _BASE_FACTORIES or last in ("MetaData", "SQLAlchemy", "registry"):
            return "%s:%s" % (path, name)
        return None

    def of_class(self, path, node, depth=0):
        """MetaData of a class; whether that is sure; whether it inherits `__table_args__`."""
        if depth > _DEPTH_MAX:
            return None, False, False
        found, sure, inherits = set(), True, False
        root = any(k.arg == "metaclass" for k in node.keywords)
        for decorator in node.decorator_list:
            name = getattr(decorator, "func", decorator)
            name = getattr(name, "attr", getattr(name, "id", ""))
            root = root or name == "as_declarative"
            sure = sure and name in ("as_declarative", "dataclass", "total_ordering", "final")
        for base in node.bases:
            thing = self.expression(path, base, depth + 1)
            if thing is None:
                sure = False
            elif thing[0] == "class":
                metadata, base_sure, base_inherits = self.of_class(thing[1], thing[3], depth + 1)
                sure = sure and base_sure
                inherits = inherits or base_inherits
                inherits = inherits or _body_value(thing[3], "__table_args__") is not None
                if metadata:
                    found.add(metadata)
            elif thing[0] == "external" and thing[1].split(".")[-1] in _ROOT_BASES:
                root = True
            elif thing[0] == "external" and not thing[1].endswith(".SQLModel"):
                pass
            else:
                metadata = self.metadata(thing, depth + 1)
                if metadata is None:
                    sure = False
                else:
                    found.add(metadata)
        own = _body_value(node, "metadata")
        if own is not None:
            metadata = None
            if isinstance(own, _ast.Call):
                metadata = "%s:%s.metadata" % (path, node.name)
            elif isinstance(own, _ast.expr):
                metadata = self.metadata(self.expression(path, own), depth + 1)
            return metadata, sure and metadata is not None, inherits
        if root and not found:
            found.add("%s:%s" % (path, node.name))
        if len(found) != 1:
            return None, sure and not found, inherits
        return found.pop(), sure, inherits


class _Definitions:
    """Tables, in the order of the files."""

    def __init__(self, source):
        self.source = source
        self.tables = []
        for path in source.paths:
            data = source.read(path)
            if data is None:
                continue
            wants_tables = given["tables"] and (b"__tablename__" in data or b"Table(" in data)
            file = source.file(path) if wants_tables else None
            if file is None:
                continue
            self.in_body(file, file.tree.body, True)

    def in_body(self, file, body, sure):
        for statement in body:
            if isinstance(statement, _ast.ClassDef):
                self.of_class(file, statement, sure)
                self.in_body(file, statement.body, sure)
                continue
            if isinstance(statement, _ast.If) and _is_type_checking(statement.test):
                self.in_body(file, statement.orelse, sure)
                continue
            nested = False
            for field in ("body", "orelse", "finalbody", "handlers"):
                inner = getattr(statement, field, None)
                if isinstance(inner, list) and inner:
                    nested = True
                    if field == "handlers":
                        inner = [s for handler in inner for s in handler.body]
                    self.in_body(file, inner, False)
            if not nested:
                for node in _ast.walk(statement):
                    if isinstance(node, _ast.Call):
                        direct = getattr(statement, "value", None) is node
                        self.of_call(file, node, sure and direct)

    def of_class(self, file, node, sure):
        table = _string(_body_value(node, "__tablename__"))
        if table is None or _is_true(_body_value(node, "__abstract__")):
            return
        metadata, certain, inherits = self.source.of_class(file.path, node)
        arguments = _body_value(node, "__table_args__")
        options = arguments
        if isinstance(arguments, _ast.Tuple):
            options = arguments.elts[-1] if arguments.elts else None
            if not isinstance(options, _ast.Dict):
                certain = certain and isinstance(options, (_ast.Call, type(None)))
                options = None
        elif arguments is not None and not isinstance(arguments, _ast.Dict):
            certain, options = False, None
        if arguments is None and inherits:
            certain = False
        self.add(file, node, table, metadata, sure and certain, options, node.name, inherits)

    def of_call(self, file, node, sure):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        table = _string(node.args[0]) if node.args else None
        if name != "Table" or table is None or len(node.args) < 3:
            # Without columns it is a look-up, and never a second definition.
            return
        made_by = self.source.expression(file.path, node.func)
        metadata = None
        if made_by and made_by[0] == "external" and made_by[1].startswith("sqlalchemy"):
            metadata = self.source.metadata(self.source.expression(file.path, node.args[1]))
        options = _ast.Dict(
            keys=[_ast.Constant(value=k.arg) for k in node.keywords],
            values=[k.value for k in node.keywords],
        )
        self.add(file, node, table, metadata, sure and metadata is not None, options, "", False)

    def add(self, file, node, table, metadata, sure, options, name, inherits):
        extends, schema = False, None
        for key, value in zip(options.keys, options.values) if options is not None else ():
            word = _string(key) if key is not None else None
            if word is None:
                sure = False
            elif word in ("extend_existing", "keep_existing"):
                extends = extends or not (isinstance(value, _ast.Constant) and not value.value)
            elif word == "schema":
                schema = _string(value)
                sure = sure and schema is not None
        if len(self.tables) >= _RESULTS_MAX:
            return
        first = min([d.lineno for d in getattr(node, "decorator_list", [])] + [node.lineno])
        self.tables.append(
            {
                "table": "%s.%s" % (schema, table) if schema else table,
                "file": file.path,
                "line": node.lineno,
                "column": node.col_offset,
                "first_line": first,
                "end_line": node.end_lineno,
                "class": name,
                "metadata": metadata or "",
                "sure": bool(sure and metadata),
                "extends": extends,
                "inherits_args": inherits,
            }
        )


class _ImportOrder:
    """The order in which importing a module defines tables, as far as the source tells it."""

    def __init__(self, source, tables):
        self.source = source
        self.seen = set()
        self.order = []
        self.by_file = {}
        for index, table in enumerate(tables):
            self.by_file.setdefault(table["file"], []).append((table["line"], index))

    def module(self, name):
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            path = self.source.modules.get(".".join(parts[:end]))
            if path is not None and path not in self.seen:
                self.seen.add(path)
                file = self.source.file(path)
                if file is not None:
                    self.body(path, file.tree.body)

    def body(self, path, body):
        for statement in body:
            if isinstance(statement, _ast.Import):
                for alias in statement.names:
                    self.module(alias.name)
            elif isinstance(statement, _ast.ImportFrom):
                base = self.source.from_module(path, statement)
                if base is not None:
                    self.module(base)
                    for alias in statement.names:
                        name = base + "." + alias.name if base else alias.name
                        if name in self.source.modules:
                            self.module(name)
            elif isinstance(statement, _ast.If):
                if not _is_type_checking(statement.test):
                    self.body(path, statement.body)
                self.body(path, statement.orelse)
            elif isinstance(statement, _ast.Try):
                self.body(path, statement.body)
                self.body(path, statement.orelse)
                self.body(path, statement.finalbody)
            elif isinstance(statement, _ast.With):
                self.body(path, statement.body)
            else:
                for line, index in self.by_file.get(path, ()):
                    if statement.lineno <= line <= statement.end_lineno:
                        self.order.append(index)


def _scan():
    source = _Source()
    definitions = _Definitions(source)
    seen, repeated = set(), False
    for table in definitions.tables:
        key = (table["table"], table["metadata"])
        repeated = repeated or key in seen
        seen.add(key)
    reached = []
    for entry in given["entries"]:
        order = _ImportOrder(source, definitions.tables)
        if repeated:
            order.module(entry)
        reached.append(order.order)
    return {
        "files": len(source.paths),
        "truncated": source.truncated,
        "tables": definitions.tables,
        "reached": reached,
    }


sys.setrecursionlimit(5000)
answer(_scan())
