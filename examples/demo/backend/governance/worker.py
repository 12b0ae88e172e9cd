"""Ends sessions that have expired, and tells the guardian how many."""

import sys

from sqlalchemy import delete
from sqlalchemy.orm import Session

from backend.database import utc_now
from backend.guardian.events import record
from backend.models import UserSession
from backend.worker import run_worker

INTERVAL_S = 30


def end_expired_sessions(session: Session) -> None:
    ended = session.execute(delete(UserSession).where(UserSession.expires_at < utc_now())).rowcount
    if ended:
        record(session, "sessions_ended", "info", "governance", f"expired sessions: {ended}")


if __name__ == "__main__":
    sys.exit(run_worker("governance", INTERVAL_S, end_expired_sessions))
