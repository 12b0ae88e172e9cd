"""Policies and decisions."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy import select

from backend.apis.common import DatabaseSession, FromRow, Limit, UtcTime
from backend.governance.engine import ANY_ROLE, decide
from backend.guardian.events import record
from backend.models import Policy, PolicyDecision

router = APIRouter(prefix="/api/governance", tags=["governance"])


class PolicyIn(BaseModel):
    action: str = Field(min_length=1, max_length=100, description="a pattern, such as vault.*")
    role: str = Field(ANY_ROLE, min_length=1, max_length=20)
    effect: Literal["allow", "deny"]
    enabled: bool = True


class PolicyOut(PolicyIn, FromRow):
    name: str


class Question(BaseModel):
    action: str = Field(min_length=1, max_length=100)
    role: str = Field(min_length=1, max_length=20)


class DecisionOut(FromRow):
    id: int
    action: str
    role: str
    allowed: bool
    reason: str
    created_at: UtcTime


@router.get("/policies", response_model=list[PolicyOut])
def policies(session: DatabaseSession):
    return session.scalars(select(Policy).order_by(Policy.name)).all()


@router.put("/policies/{name}", response_model=PolicyOut)
def put_policy(session: DatabaseSession, name: str, policy: PolicyIn):
    """Makes or replaces the policy of that name."""
    row = session.scalars(select(Policy).where(Policy.name == name)).first() or Policy(name=name)
    for field, value in policy.model_dump().items():
        setattr(row, field, value)
    session.add(row)
    session.commit()
    return row


@router.post("/decisions", status_code=201, response_model=DecisionOut)
def ask(session: DatabaseSession, question: Question):
    """Decides and keeps the answer; a denial is a security event as well."""
    decision = decide(session, question.action, question.role)
    if not decision.allowed:
        detail = f"{question.role} asked for {question.action}: {decision.reason}"
        record(session, "action_denied", "warning", "governance", detail)
    session.commit()
    session.refresh(decision)
    return decision


@router.get("/decisions", response_model=list[DecisionOut])
def decisions(session: DatabaseSession, limit: Limit = 50):
    """The newest first."""
    newest_first = select(PolicyDecision).order_by(PolicyDecision.id.desc())
    return session.scalars(newest_first.limit(limit)).all()
