"""Signs of life and security events."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy import select

from backend.apis.common import DatabaseSession, FromRow, Limit, UtcTime
from backend.guardian.events import record
from backend.models import Heartbeat, SecurityEvent
from backend.worker import is_stale

router = APIRouter(prefix="/api/guardian", tags=["guardian"])

Severity = Literal["info", "warning", "critical"]


class WorkerStatus(BaseModel):
    worker: str
    alive: bool
    rounds: int
    beat_at: UtcTime


class EventIn(BaseModel):
    kind: str = Field(min_length=1, max_length=50)
    severity: Severity = "info"
    source: str = Field(min_length=1, max_length=50)
    detail: str = Field(max_length=2000)


class EventOut(FromRow):
    id: int
    kind: str
    severity: Severity
    source: str
    detail: str
    user_id: int | None
    created_at: UtcTime


@router.get("/workers")
def workers(session: DatabaseSession) -> list[WorkerStatus]:
    beats = session.scalars(select(Heartbeat).order_by(Heartbeat.worker))
    return [
        WorkerStatus(worker=b.worker, alive=not is_stale(b), rounds=b.rounds, beat_at=b.beat_at)
        for b in beats
    ]


@router.get("/events", response_model=list[EventOut])
def events(session: DatabaseSession, severity: Severity | None = None, limit: Limit = 50):
    """The newest first."""
    query = select(SecurityEvent).order_by(SecurityEvent.id.desc()).limit(limit)
    if severity is not None:
        query = query.where(SecurityEvent.severity == severity)
    return session.scalars(query).all()


@router.post("/events", status_code=201, response_model=EventOut)
def report_event(session: DatabaseSession, event: EventIn):
    row = record(session, event.kind, event.severity, event.source, event.detail)
    session.commit()
    session.refresh(row)
    return row
