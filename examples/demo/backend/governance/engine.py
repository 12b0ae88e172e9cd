"""Decides by the policies: a denial beats a permission, and what no policy mentions is denied."""

from fnmatch import fnmatchcase

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.models import Policy, PolicyDecision

ANY_ROLE = "*"


def decide(session: Session, action: str, role: str) -> PolicyDecision:
    """The decision, added to the session."""
    matching = [
        policy
        for policy in session.scalars(select(Policy).where(Policy.enabled).order_by(Policy.id))
        if fnmatchcase(action, policy.action) and policy.role in (ANY_ROLE, role)
    ]
    policy = next((p for p in matching if p.effect == "deny"), None) or next(iter(matching), None)
    if policy is None:
        reason = "no policy allows it"
    else:
        verb = "allowed" if policy.effect == "allow" else "denied"
        reason = f"{verb} by policy {policy.name}"
    decision = PolicyDecision(
        policy=policy,
        action=action,
        role=role,
        allowed=policy is not None and policy.effect == "allow",
        reason=reason,
    )
    session.add(decision)
    return decision
