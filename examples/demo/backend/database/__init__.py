"""The database layer: engine, sessions, and the base class of all models.

Creating the engine connects to nothing; the first query does. Schema changes are meant to go
through Alembic, which is pinned in requirements.txt; there are no migrations yet.
"""

from collections.abc import Iterator
from datetime import datetime, timezone

from sqlalchemy import Engine, MetaData, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from backend.config import settings

BUSY_TIMEOUT_S = 5
"""How long a writer waits for the other processes that share the SQLite file."""


class Base(DeclarativeBase):
    """All models; constraints get names, so that a migration can find them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def make_engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def enforce_foreign_keys(connection, _record):
        connection.execute("PRAGMA foreign_keys = ON")

    return engine


engine = make_engine(settings.database_url)
SessionLocal = sessionmaker(engine, expire_on_commit=False)


def get_session() -> Iterator[Session]:
    """One session for one request; FastAPI closes it afterwards."""
    with SessionLocal() as session:
        yield session


def utc_now() -> datetime:
    """Now, as the database keeps times: UTC without a zone, whole seconds."""
    return datetime.now(timezone.utc).replace(tzinfo=None, microsecond=0)
