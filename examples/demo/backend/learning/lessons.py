"""What the observations add up to."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.database import utc_now
from backend.learning.models import LearningEvent, RecalledMemory


@dataclass(frozen=True)
class Lesson:
    kind: str
    observations: int
    mean_score: float


def lessons(session: Session) -> list[Lesson]:
    """The mean score of each kind of observation, the best first."""
    mean = func.avg(LearningEvent.score)
    rows = session.execute(
        select(LearningEvent.kind, func.count(LearningEvent.id), mean)
        .group_by(LearningEvent.kind)
        .order_by(mean.desc(), LearningEvent.kind)
    )
    return [Lesson(kind, count, round(score, 3)) for kind, count, score in rows]


def recall(session: Session, memory_id: int) -> RecalledMemory | None:
    """The memory, with this use of it counted."""
    memory = session.get(RecalledMemory, memory_id)
    if memory is not None:
        memory.recalls += 1
        memory.recalled_at = utc_now()
    return memory
