"""Session tokens: a random part and its signature (HMAC-SHA256 with SECRET_KEY)."""

import hashlib
import hmac
import secrets
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.config import settings
from backend.database import utc_now
from backend.models import User, UserSession

RANDOM_BYTES = 24


def _signature(nonce: str) -> str:
    return hmac.new(settings.secret_key, nonce.encode(), hashlib.sha256).hexdigest()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def issue(session: Session, user: User) -> tuple[str, UserSession]:
    """A new token of this user; the session keeps only its digest."""
    nonce = secrets.token_urlsafe(RANDOM_BYTES)
    token = f"{nonce}.{_signature(nonce)}"
    expires_at = utc_now() + timedelta(hours=settings.session_hours)
    row = UserSession(user=user, token_digest=_digest(token), expires_at=expires_at)
    session.add(row)
    return token, row


def verify(session: Session, token: str) -> User | None:
    """Whose token it is, if we signed it, it is not expired and its user is active."""
    nonce, _, signature = token.rpartition(".")
    if not hmac.compare_digest(_signature(nonce).encode(), signature.encode()):
        return None
    row = session.scalars(
        select(UserSession).where(
            UserSession.token_digest == _digest(token), UserSession.expires_at > utc_now()
        )
    ).first()
    return row.user if row is not None and row.user.active else None
