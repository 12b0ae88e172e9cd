# What Alembic's compare_metadata says of databases, and what the models know: the reference of the schema
# tests. Reads {"target": "module:attribute", "urls": [...]} and writes one JSON document.
import importlib
import json
import os
import sys
import warnings

warnings.simplefilter("ignore")
given = json.load(sys.stdin)
# What a program prints while it is imported is not the answer.
out = os.dup(1)
os.dup2(2, 1)

module, attribute = given["target"].split(":")
value = importlib.import_module(module)
for name in attribute.split("."):
    value = getattr(value, name)
metadata = getattr(value, "metadata", value)

import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import schema


def joined(columns):
    return ",".join(str(getattr(column, "name", column)) for column in columns)


def places(table):
    """The table and everything in it, by the names it goes by."""
    yield ""
    for column in table.columns:
        yield column.name
    for index in table.indexes:
        yield from (str(index.name), joined(index.columns))
    for constraint in table.constraints:
        if isinstance(constraint, (schema.UniqueConstraint, schema.ForeignKeyConstraint)):
            yield joined(constraint.columns)


def flat(diffs):
    for diff in diffs:
        if isinstance(diff, list):
            yield from flat(diff)
        else:
            yield diff


def told(diff):
    """[operation, table, names]"""
    operation, first = diff[0], diff[1]
    if operation in ("add_table", "remove_table"):
        return [operation, first.name, [""]]
    if operation in ("add_column", "remove_column"):
        return [operation, diff[2], [diff[3].name]]
    if operation.startswith("modify_"):
        return [operation, diff[2], [diff[3]]]
    names = [str(getattr(first, "name", None)), joined(getattr(first, "columns", ()))]
    return [operation, first.table.name, names]


def compare(url):
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        diffs = compare_metadata(context, metadata)
    engine.dispose()
    return [told(diff) for diff in flat(diffs)]


known = [[t.name, place] for t in metadata.tables.values() for place in places(t)]
answer = {"known": known, "reports": [compare(url) for url in given["urls"]]}
with os.fdopen(out, "w") as stream:
    json.dump(answer, stream)
