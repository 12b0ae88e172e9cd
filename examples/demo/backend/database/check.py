"""One-shot: the database opens, is not corrupt, and its references hold. Exits with 0 or 1."""

import logging
import sys

from sqlalchemy import func, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend.database import SessionLocal
from backend.logs import configure_logging
from backend.models import Base

log = logging.getLogger(__name__)


def integrity_problems(session: Session) -> list[str]:
    """What SQLite's own checks say; empty where nothing is wrong, or for another database."""
    if session.get_bind().dialect.name != "sqlite":
        return []
    problems = [row for row in session.scalars(text("PRAGMA integrity_check")) if row != "ok"]
    for table, row_id, parent, _ in session.execute(text("PRAGMA foreign_key_check")):
        problems.append(f"{table} row {row_id} refers to a missing row of {parent}")
    return problems


def row_counts(session: Session) -> dict[str, int]:
    """Rows of each table that the models know and the database has."""
    present = set(inspect(session.connection()).get_table_names())
    return {
        name: session.scalar(select(func.count()).select_from(table)) or 0
        for name, table in sorted(Base.metadata.tables.items())
        if name in present
    }


def main() -> int:
    configure_logging("database")
    try:
        with SessionLocal() as session:
            problems = integrity_problems(session)
            counts = row_counts(session)
    except SQLAlchemyError as error:
        log.error("database cannot be read: %s", error)
        return 1
    for problem in problems:
        log.error("integrity: %s", problem)
    log.info("database checked", extra={"tables": len(counts), "rows": sum(counts.values())})
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
