"""What is in the database, and whether it is sound."""

from fastapi import APIRouter
from pydantic import BaseModel

from backend.apis.common import DatabaseSession
from backend.database.check import integrity_problems, row_counts

router = APIRouter(prefix="/api/database", tags=["database"])


class DatabaseStatus(BaseModel):
    dialect: str
    sound: bool
    problems: list[str]


@router.get("/status")
def status(session: DatabaseSession) -> DatabaseStatus:
    problems = integrity_problems(session)
    dialect = session.get_bind().dialect.name
    return DatabaseStatus(dialect=dialect, sound=not problems, problems=problems)


@router.get("/tables")
def tables(session: DatabaseSession) -> dict[str, int]:
    """Number of rows by table."""
    return row_counts(session)
