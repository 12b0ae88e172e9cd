# The schema that SQLAlchemy models expect, in the words of the live database's dialect. SQLAlchemy 1.4 and 2.
import re


def _metadata_of(value):
    """The MetaData of a declarative base, a registry, a MetaData, or a list of those."""
    from sqlalchemy import MetaData

    if isinstance(value, (list, tuple, set, frozenset)) and value:
        return [found for one in value for found in _metadata_of(one)]
    for candidate in (value, getattr(value, "metadata", None)):
        if isinstance(candidate, MetaData):
            return [candidate]
    raise TypeError(
        "%s:%s is no declarative base and no MetaData, but %s"
        % (given["module"], given["attribute"], type(value).__name__)
    )


class _Reader:
    def __init__(self):
        import sqlalchemy
        from sqlalchemy import schema
        self.sa = sqlalchemy
        self.schema = schema
        # A dialect needs no driver to write statements.
        if given.get("dialect") == "postgresql":
            from sqlalchemy.dialects import postgresql

            self.dialect = postgresql.dialect(paramstyle="named")
        else:
            from sqlalchemy.dialects import sqlite

            self.dialect = sqlite.dialect()
        self.preparer = self.dialect.identifier_preparer
        self.ddl = self.dialect.ddl_compiler(self.dialect, None)

    def compiled(self, element):
        try:
            return str(element.compile(dialect=self.dialect)).strip()
        except Exception:
            return None

    def text(self, expression):
        """An expression as the statements have it: without the table's name, with its values."""
        try:
            written = self.ddl.sql_compiler.process(
                expression, include_table=False, literal_binds=True
            )
            return _text(written)[:4000]
        except Exception:
            return None

    def table(self, table):
        problem = ""
        ddl = None
        try:
            ddl = str(self.schema.CreateTable(table).compile(dialect=self.dialect)).strip()
        except Exception as error:
            problem = _text(error)
        return {
            "name": table.name,
            "schema": table.schema,
            "ddl": ddl,
            "problem": problem[:500],
            "columns": [self.column(table, column) for column in table.columns],
            "indexes": [self.index(index) for index in table.indexes if self.is_meant(index)],
            "constraints": self.constraints(table),
        }

    def column(self, table, column):
        kind = self.compiled(column.type)
        default = None
        if column.server_default is not None:
            try:
                default = self.ddl.get_column_default_string(column)
            except Exception:
                default = ""
        references, problem = self.references(column)
        unique_with = self.unique_with(table, column)
        return {
            "name": column.name,
            "type": kind,
            "labels": self.labels(column.type),
            "nullable": bool(column.nullable),
            "primary_key": bool(column.primary_key),
            "unique": bool(column.unique) or 1 in unique_with,
            "generated": getattr(column, "computed", None) is not None
            or getattr(column, "identity", None) is not None,
            "computed": self.computed(column),
            "identity": self.identity(column),
            "autoincrement": self.is_numbered(table, column),
            "fetched": self.is_fetched(column),
            "server_default": default,
            "default": self.literal_default(column),
            "filler": None if column.nullable or column.primary_key else self.filler(column),
            "python": self.python(column.type),
            "references": references,
            "checked": problem
            or self.is_checked(table, column)
            or any(columns > 1 for columns in unique_with),
            "quoted": self.preparer.format_column(column),
            "own_checks": self.own_checks(column),
        }

    def computed(self, column):
        """The expression of a computed column; empty if it cannot be written."""
        computed = getattr(column, "computed", None)
        return None if computed is None else self.text(computed.sqltext) or ""

    def identity(self, column):
        identity = getattr(column, "identity", None)
        if identity is None or not getattr(self.dialect, "supports_identity_columns", False):
            return None
        return "always" if identity.always else "by default"

    def is_numbered(self, table, column):
        """Whether the database has to number the rows: the code gives no value."""
        try:
            if column.default is not None or column.server_default is not None:
                return False
            if self.dialect.name == "postgresql":
                specification = self.ddl.get_column_specification(column).upper()
                return " SERIAL" in specification or "BIGSERIAL" in specification \
                    or "SMALLSERIAL" in specification
            return table._autoincrement_column is column
        except Exception:
            return False

    def is_fetched(self, column):
        """The code says that the database gives a value, and not which one."""
        default = column.server_default
        known = (self.schema.DefaultClause,) + tuple(
            getattr(self.schema, name) for name in ("Computed", "Identity")
            if hasattr(self.schema, name)
        )
        return default is not None and not isinstance(default, known)

    def labels(self, kind):
        """The values of an enumeration type of the database."""
        if self.dialect.name != "postgresql":
            return None
        try:
            for _ in range(8):
                kind = kind.dialect_impl(self.dialect)
                inner = getattr(kind, "item_type", None) or getattr(kind, "impl", None)
                if getattr(kind, "enums", None) or inner is None or inner is kind:
                    break
                kind = inner
            if not getattr(kind, "native_enum", True):
                return None
            labels = getattr(kind, "enums", None)
            return [_text(label) for label in labels] if labels else None
        except Exception:
            return None

    def name_of(self, constraint):
        """The name that the database will see, after naming conventions and shortening."""
        try:
            name = self.preparer.format_constraint(constraint)
        except Exception:
            name = constraint.name if isinstance(constraint.name, str) else None
        if name and name[0] == name[-1] == '"':
            name = name[1:-1].replace('""', '"')
        return name

    def is_meant(self, item):
        """Whether it is made in this dialect (`ddl_if`); an index without columns cannot be made."""
        if isinstance(item, self.schema.Index) and not len(item.expressions):
            return False
        condition = getattr(item, "_ddl_if", None)
        if condition is None:
            return True
        try:
            return bool(condition._should_execute(None, item, None, compiler=self.ddl))
        except Exception:
            # A condition that looks at the connection: only a connection could tell.
            return False

    def constraints(self, table):
        """They come in no order, and the report has to have one."""
        every = list(table.constraints)
        # One that was given to a column is none of the table's.
        every += [one for column in table.columns for one in column.constraints if one not in every]
        meant = [one for one in every if self.is_meant(one)]
        found = [self.constraint(table, one) for one in meant]
        found = [one for one in found if one is not None]
        order = lambda one: (one["kind"], one["columns"], one["name"] or "")
        return sorted(found, key=order)

    def constraint(self, table, constraint):
        schema = self.schema
        found = {
            "name": self.name_of(constraint),
            "deferrable": bool(getattr(constraint, "deferrable", None)),
            "deferred": _text(getattr(constraint, "initially", None) or "").upper() == "DEFERRED",
        }
        if isinstance(constraint, schema.ForeignKeyConstraint):
            try:
                targets = [element.column for element in constraint.elements]
            except Exception:
                return None
            found.update(
                kind="foreign_key",
                columns=[column.name for column in constraint.columns],
                schema=targets[0].table.schema,
                table=targets[0].table.name,
                targets=[column.name for column in targets],
                on_delete=constraint.ondelete,
                on_update=constraint.onupdate,
            )
            return found
        if isinstance(constraint, schema.CheckConstraint):
            # What a type brings (Boolean, Enum) depends on the version.
            if getattr(constraint, "_type_bound", False):
                return None
            words = set(re.findall(r"\w+", _text(constraint.sqltext)))
            columns = [c.name for c in table.columns if c.name in words]
            found.update(kind="check", columns=columns, text=self.text(constraint.sqltext))
            return found
        columns = [column.name for column in getattr(constraint, "columns", ())]
        if not columns:
            return None
        if isinstance(constraint, schema.PrimaryKeyConstraint):
            found.update(kind="primary_key", columns=columns)
        elif isinstance(constraint, schema.UniqueConstraint):
            found.update(kind="unique", columns=columns)
            found["nulls_not_distinct"] = bool(self.options(constraint).get("nulls_not_distinct"))
        else:
            return None
        return found

    def own_checks(self, column):
        """The clauses of the check constraints that were given to the column itself."""
        try:
            # They come in no order.
            return " ".join(sorted(
                _text(self.ddl.process(constraint)).strip()
                for constraint in column.constraints
                if isinstance(constraint, self.schema.CheckConstraint)
            ))
        except Exception:
            return ""

    def unique_with(self, table, column):
        """How many columns each unique constraint with this column has."""
        return [
            len(constraint.columns)
            for constraint in table.constraints
            if isinstance(constraint, self.schema.UniqueConstraint)
            and column.name in [c.name for c in constraint.columns]
        ]

    def is_checked(self, table, column):
        for constraint in table.constraints:
            if isinstance(constraint, self.schema.CheckConstraint):
                # A constraint that the column's type brings (Boolean, Enum), or one that names it.
                names = [c.name for c in constraint.columns]
                if column.name in names or column.name in _text(constraint.sqltext):
                    return True
        return False

    def references(self, column):
        """The REFERENCES clause of the column's single foreign key; whether there is more to it."""
        keys = list(column.foreign_keys)
        if not keys:
            return None, False
        constraint = keys[0].constraint
        if len(keys) > 1 or constraint is None or len(constraint.elements) != 1:
            return None, True
        try:
            target = keys[0].column
            if target.table.schema:
                return None, True
            clause = "REFERENCES %s (%s)" % (
                self.preparer.format_table(target.table),
                self.preparer.format_column(target),
            )
            clause += self.ddl.define_constraint_cascades(constraint)
            clause += self.ddl.define_constraint_deferrability(constraint)
            return clause.strip(), False
        except Exception:
            return None, True

    def literal_default(self, column):
        default = column.default
        if default is None or not getattr(default, "is_scalar", False):
            return None
        value = default.arg
        if type(value) not in (bool, int, float, str):
            return None
        try:
            literal = self.sa.literal(value, column.type)
            text = str(
                literal.compile(dialect=self.dialect, compile_kwargs={"literal_binds": True})
            )
        except Exception:
            return None
        return text[:1000]

    def filler(self, column):
        """A value for rows that exist: what the code gives each time, or else the least one of the type; and which."""
        default = column.default
        given = []
        try:
            if default is not None and getattr(default, "is_scalar", False):
                given = [default.arg]
            elif default is not None and getattr(default, "is_callable", False):
                # Twice the same: a constant. A moment or a random value is not.
                first, second = default.arg(None), default.arg(None)
                if type(first) in (bool, int, float, str, list, dict) and first == second:
                    given = [first]
        except Exception:
            pass
        try:
            least = self.least(column.type)
        except Exception:
            least = None
        for value, is_given in [(one, True) for one in given] + [(least, False)]:
            text = None if value is None else self.literal(value, column.type)
            if text:
                return {"value": text, "given": is_given}
        return None

    def python(self, kind):
        """The type as a revision of Alembic writes it; none if it is not one of SQLAlchemy's own."""
        try:
            for _ in range(8):
                module = type(kind).__module__
                if module.startswith("sqlalchemy."):
                    break
                kind = kind.impl
            else:
                return None
            name = type(kind).__name__
            parts = module.split(".")
            place = parts[2] if parts[1] == "dialects" else "sa"
            if place == "sa" and getattr(self.sa, name, None) is None:
                return None
            # A type within a type is one of SQLAlchemy's too.
            inner = re.compile(r"(?<![\w.'\"])([A-Z]\w*)\(")
            written = repr(kind)
            if not written.startswith(name + "("):
                return None
            known = lambda found: ("sa." if hasattr(self.sa, found[1]) else "") + found[0]
            return "%s.%s%s" % (place, name, inner.sub(known, written[len(name):]))
        except Exception:
            return None

    def least(self, kind):
        import datetime
        import decimal
        import uuid

        labels = getattr(kind, "enums", None)
        if labels:
            members = getattr(kind, "enum_class", None)
            return list(members)[0] if members else labels[0]
        if isinstance(kind, self.sa.JSON):
            return {}
        python = kind.python_type
        zone = datetime.timezone.utc if getattr(kind, "timezone", False) else None
        least = {
            bool: False, int: 0, float: 0.0, decimal.Decimal: 0, str: "", bytes: b"", list: [], dict: {},
            datetime.datetime: datetime.datetime(1970, 1, 1, tzinfo=zone), datetime.date: datetime.date(1970, 1, 1),
            datetime.time: datetime.time(0, 0), uuid.UUID: uuid.UUID(int=0), datetime.timedelta: datetime.timedelta(0),
        }
        return least.get(python)

    def literal(self, value, kind):
        import datetime
        import json

        if isinstance(value, bytes):
            if value:
                return None
            return "x''" if self.dialect.name == "sqlite" else "'\\x'"
        try:
            literal = self.sa.literal(value, kind)
            text = str(literal.compile(dialect=self.dialect, compile_kwargs={"literal_binds": True}))
            return text[:1000] if len(text) <= 1000 else None
        except Exception:
            pass
        if isinstance(value, (list, dict)):
            written = json.dumps(value)
            if isinstance(value, list) and not isinstance(kind, self.sa.JSON):
                written = None if value else "{}"
        elif isinstance(value, datetime.timedelta) and not value:
            written = "0" if self.dialect.name == "postgresql" else "1970-01-01 00:00:00.000000"
        elif isinstance(value, (datetime.date, datetime.time)):
            written = str(value)
        else:
            written = None
        return None if written is None else "'%s'" % written.replace("'", "''")

    def options(self, index):
        try:
            return index.dialect_options[self.dialect.name]
        except Exception:
            return {}

    def index_name(self, index):
        try:
            name = self.preparer.format_index(index)
        except Exception:
            name = index.name if isinstance(index.name, str) else None
        if name and name[0] == name[-1] == '"':
            name = name[1:-1].replace('""', '"')
        return name

    def part(self, expression):
        """One part of an index without its direction: the name of a column, or the text of an expression."""
        from sqlalchemy.sql import elements, operators

        directions = (
            operators.desc_op, operators.asc_op,
            getattr(operators, "nulls_first_op", None) or operators.nullsfirst_op,
            getattr(operators, "nulls_last_op", None) or operators.nullslast_op,
        )
        while isinstance(expression, elements.UnaryExpression) and expression.modifier in directions:
            expression = expression.element
        if isinstance(expression, self.schema.Column):
            return expression.name, None
        return None, self.text(expression) or ""

    def index(self, index):
        options = self.options(index)
        parts = [self.part(expression) for expression in index.expressions]
        condition = options.get("where")
        if isinstance(condition, str):
            condition = self.sa.text(condition)
        method = options.get("using") if self.dialect.name == "postgresql" else None
        return {
            "name": self.index_name(index),
            "columns": [name for name, _ in parts],
            "expressions": [text for _, text in parts],
            "unique": bool(index.unique),
            "partial": condition is not None,
            "condition": None if condition is None else self.text(condition) or "",
            "method": _text(method).lower() if method else None,
            "nulls_not_distinct": bool(options.get("nulls_not_distinct")),
            "ddl": self.compiled(self.schema.CreateIndex(index)),
        }


def _read():
    try:
        metadata = _metadata_of(attribute_of(given["module"], given["attribute"]))
        reader = _Reader()
        tables = [reader.table(table) for one in metadata for table in one.tables.values()]
        return {"sqlalchemy": _text(reader.sa.__version__), "tables": tables}
    except BaseException as error:
        return {"raised": describe(error)}


answer(_read())
