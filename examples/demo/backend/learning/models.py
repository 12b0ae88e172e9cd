"""Tables of the learning service."""

from datetime import datetime

from sqlalchemy import JSON, Float, String, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from backend.models import Base


class LearningEvent(Base):
    """One observation: something was tried, and it went so well (0 to 1)."""

    __tablename__ = "learning_events"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(50), index=True)
    score: Mapped[float] = mapped_column(Float)
    payload: Mapped[dict] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(server_default=func.current_timestamp())


class RecalledMemory(Base):
    """A memory as learning sees it: what it says, and how often it was of use."""

    __tablename__ = "memories"

    id: Mapped[int] = mapped_column(primary_key=True)
    content: Mapped[str] = mapped_column(Text)
    recalls: Mapped[int] = mapped_column(server_default="0")
    recalled_at: Mapped[datetime | None]
