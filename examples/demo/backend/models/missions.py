"""Work for mission control, and the signs of life of the workers."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, func
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.database import Base
from backend.models.identity import User


class Mission(Base):
    __tablename__ = "missions"
    __table_args__ = (
        CheckConstraint(
            "status IN ('queued', 'running', 'done', 'failed', 'cancelled')", name="status"
        ),
        Index(None, "status", "priority"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(String(50))
    status: Mapped[str] = mapped_column(String(10), server_default="queued")
    priority: Mapped[int] = mapped_column(server_default="5")
    result: Mapped[str | None] = mapped_column(Text)
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.current_timestamp())
    finished_at: Mapped[datetime | None]

    owner: Mapped[User | None] = relationship()


class Heartbeat(Base):
    """The last sign of life of one worker."""

    __tablename__ = "heartbeats"

    worker: Mapped[str] = mapped_column(String(50), primary_key=True)
    pid: Mapped[int]
    interval_s: Mapped[int]
    rounds: Mapped[int] = mapped_column(server_default="0")
    started_at: Mapped[datetime]
    beat_at: Mapped[datetime]
