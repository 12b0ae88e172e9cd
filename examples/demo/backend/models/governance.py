"""Rules about what may be done, and what was decided by them."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, String, Text, func
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.database import Base


class Policy(Base):
    __tablename__ = "policies"
    __table_args__ = (CheckConstraint("effect IN ('allow', 'deny')", name="effect"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    # Shell-style patterns: `vault.*`, `*`.
    action: Mapped[str] = mapped_column(String(100))
    role: Mapped[str] = mapped_column(String(20))
    effect: Mapped[str] = mapped_column(String(5))
    enabled: Mapped[bool] = mapped_column(default=True)

    decisions: Mapped[list["PolicyDecision"]] = relationship(back_populates="policy")


class PolicyDecision(Base):
    __tablename__ = "policy_decisions"

    id: Mapped[int] = mapped_column(primary_key=True)
    policy_id: Mapped[int | None] = mapped_column(ForeignKey("policies.id", ondelete="SET NULL"))
    action: Mapped[str] = mapped_column(String(100))
    role: Mapped[str] = mapped_column(String(20))
    allowed: Mapped[bool]
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(
        server_default=func.current_timestamp(), index=True
    )

    policy: Mapped[Policy | None] = relationship(back_populates="decisions")
