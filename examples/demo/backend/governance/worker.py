"""Keeps what governance keeps in bounds: ends expired sessions, forgets old decisions."""

import logging
import sys
from datetime import timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from backend.database import utc_now
from backend.models import PolicyDecision, UserSession
from backend.worker import run_worker

INTERVAL_S = 30
DECISIONS_KEPT = timedelta(days=365)

log = logging.getLogger(__name__)


def tidy(session: Session) -> None:
    now = utc_now()
    sessions = session.execute(delete(UserSession).where(UserSession.expires_at < now)).rowcount
    decisions = session.execute(
        delete(PolicyDecision).where(PolicyDecision.created_at < now - DECISIONS_KEPT)
    ).rowcount
    if sessions or decisions:
        log.info("tidied", extra={"sessions_ended": sessions, "decisions_forgotten": decisions})


if __name__ == "__main__":
    sys.exit(run_worker("governance", INTERVAL_S, tidy))
