"""Watches the signs of life of all workers: says once when one falls silent or is back."""

import os
import sys

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.config import settings
from backend.guardian.events import record
from backend.models import Heartbeat
from backend.worker import is_stale, run_worker


class Guardian:
    def __init__(self) -> None:
        self.silent: set[str] | None = None

    def look(self, session: Session) -> None:
        silent = {beat.worker for beat in session.scalars(select(Heartbeat)) if is_stale(beat)}
        if self.silent is None:
            # Whoever was silent before this guardian woke up is no news.
            record(session, "guardian_started", "info", "guardian", f"pid {os.getpid()}")
            self.silent = silent
        for worker in sorted(silent - self.silent):
            record(session, "worker_silent", "warning", "guardian", f"{worker} shows no life")
        for worker in sorted(self.silent - silent):
            record(session, "worker_back", "info", "guardian", f"{worker} is back")
        self.silent = silent


if __name__ == "__main__":
    sys.exit(run_worker("guardian", settings.guardian_interval_s, Guardian().look))
