"""Memories."""

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy import or_, select

from backend.apis.common import DatabaseSession, FromRow, Limit, UtcTime, found
from backend.models import Document, Memory

router = APIRouter(prefix="/api/memory", tags=["memory"])


class MemoryIn(BaseModel):
    topic: str = Field(min_length=1, max_length=100)
    content: str = Field(min_length=1, max_length=10_000)
    document_id: int | None = None


class MemoryOut(FromRow):
    id: int
    topic: str
    content: str
    document_id: int | None
    created_at: UtcTime


@router.get("/memories", response_model=list[MemoryOut])
def memories(session: DatabaseSession, q: str | None = None, limit: Limit = 50):
    """The newest first; with `q`, those that mention it."""
    query = select(Memory).order_by(Memory.id.desc()).limit(limit)
    if q:
        mentions = (c.icontains(q, autoescape=True) for c in (Memory.topic, Memory.content))
        query = query.where(or_(*mentions))
    return session.scalars(query).all()


@router.post("/memories", status_code=201, response_model=MemoryOut)
def remember(session: DatabaseSession, memory: MemoryIn):
    if memory.document_id is not None:
        found(session.get(Document, memory.document_id), "document")
    row = Memory(**memory.model_dump())
    session.add(row)
    session.commit()
    session.refresh(row)
    return row


@router.delete("/memories/{memory_id}", status_code=204)
def forget(session: DatabaseSession, memory_id: int) -> None:
    session.delete(found(session.get(Memory, memory_id), "memory"))
    session.commit()
