"""What the routers share: the session of a request, page sizes, and how a row becomes JSON."""

from datetime import datetime, timezone
from typing import Annotated, TypeVar

from fastapi import Depends, HTTPException, Query
from pydantic import AfterValidator, BaseModel, ConfigDict
from sqlalchemy.orm import Session

from backend.database import get_session

Row = TypeVar("Row")

DatabaseSession = Annotated[Session, Depends(get_session)]
Limit = Annotated[int, Query(ge=1, le=200)]
UtcTime = Annotated[datetime, AfterValidator(lambda time: time.replace(tzinfo=timezone.utc))]
"""A time from the database, which keeps UTC without saying so."""


class FromRow(BaseModel):
    """Read from the attributes of a model."""

    model_config = ConfigDict(from_attributes=True)


def found(row: Row | None, what: str) -> Row:
    """The row, or 404."""
    if row is None:
        raise HTTPException(404, f"no such {what}")
    return row
