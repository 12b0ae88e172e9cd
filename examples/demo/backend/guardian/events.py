"""Writing down security events."""

from sqlalchemy.orm import Session

from backend.models import SecurityEvent, User


def record(
    session: Session, kind: str, severity: str, source: str, detail: str, user: User | None = None
) -> SecurityEvent:
    """The event, added to the session."""
    event = SecurityEvent(kind=kind, severity=severity, source=source, detail=detail, user=user)
    session.add(event)
    return event
