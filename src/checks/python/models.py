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
        return {
            "name": column.name,
            "type": kind,
            "labels": self.labels(column.type),
            "nullable": bool(column.nullable),
            "primary_key": bool(column.primary_key),
            "unique": bool(column.unique) or 1 in self.unique_with(table, column),
            "generated": getattr(column, "computed", None) is not None
            or getattr(column, "identity", None) is not None,
            "server_default": default,
            "default": self.literal_default(column),
            "references": references,
            "checked": problem
            or self.is_checked(table, column)
            or any(columns > 1 for columns in self.unique_with(table, column)),
            "quoted": self.preparer.format_column(column),
        }

    def labels(self, kind):
        """The values of an enumeration type of the database."""
        try:
            for _ in range(8):
                kind = kind.dialect_impl(self.dialect)
                inner = getattr(kind, "item_type", None) or getattr(kind, "impl", None)
                if getattr(kind, "enums", None) or inner is None or inner is kind:
                    break
                kind = inner
            if self.dialect.name != "postgresql" or not getattr(kind, "native_enum", True):
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
        meant = [constraint for constraint in table.constraints if self.is_meant(constraint)]
        found = [self.constraint(constraint) for constraint in meant]
        found = [one for one in found if one is not None]
        order = lambda one: (one["kind"], one["columns"], one["name"] or "")
        return sorted(found, key=order)

    def constraint(self, constraint):
        schema = self.schema
        found = {"name": self.name_of(constraint)}
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
            # What a type brings (Boolean, Enum) depends on the version, and has no name.
            if getattr(constraint, "_type_bound", False) or not found["name"]:
                return None
            words = set(re.findall(r"\w+", _text(constraint.sqltext)))
            columns = [c.name for c in constraint.table.columns if c.name in words]
            found.update(kind="check", columns=columns)
            return found
        columns = [column.name for column in getattr(constraint, "columns", ())]
        if not columns:
            return None
        if isinstance(constraint, schema.PrimaryKeyConstraint):
            found.update(kind="primary_key", columns=columns)
        elif isinstance(constraint, schema.UniqueConstraint):
            found.update(kind="unique", columns=columns)
        else:
            return None
        return found

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

    def index(self, index):
        columns = []
        for expression in index.expressions:
            name = getattr(expression, "name", None)
            if type(expression).__name__ != "Column" and not isinstance(
                expression, self.schema.Column
            ):
                name = None
            columns.append(name)
        options = self.options(index)
        return {
            "name": self.index_name(index),
            "columns": columns,
            "unique": bool(index.unique),
            "partial": options.get("where") is not None,
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
