"""Observations and lessons."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from backend.apis.common import DatabaseSession, FromRow, UtcTime, found
from backend.learning.lessons import Lesson, lessons, recall
from backend.learning.models import LearningEvent

router = APIRouter(prefix="/api/learning", tags=["learning"])


class ObservationIn(BaseModel):
    kind: str = Field(min_length=1, max_length=50)
    score: float = Field(ge=0, le=1)
    payload: dict[str, Any] = {}


class ObservationOut(FromRow):
    id: int
    kind: str
    score: float
    payload: dict[str, Any]
    created_at: UtcTime


class RecallOut(FromRow):
    id: int
    content: str
    recalls: int
    recalled_at: UtcTime


@router.post("/observations", status_code=201, response_model=ObservationOut)
def observe(session: DatabaseSession, observation: ObservationIn):
    row = LearningEvent(**observation.model_dump())
    session.add(row)
    session.commit()
    session.refresh(row)
    return row


@router.get("/lessons")
def all_lessons(session: DatabaseSession) -> list[Lesson]:
    """The mean score of each kind of observation, the best first."""
    return lessons(session)


@router.post("/memories/{memory_id}/recall", response_model=RecallOut)
def recall_memory(session: DatabaseSession, memory_id: int):
    """The memory; this use of it counts."""
    memory = found(recall(session, memory_id), "memory")
    session.commit()
    return memory
