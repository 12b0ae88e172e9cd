"""The loop that every worker runs: a round, a sign of life, a pause; it ends at once on SIGTERM."""

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from backend.database import SessionLocal, utc_now
from backend.logs import configure_logging
from backend.models import Heartbeat

log = logging.getLogger(__name__)

MISSED_BEATS_MAX = 3
"""So many intervals without a sign of life, and a worker counts as stale."""


def run_worker(name: str, interval_s: int, work: Callable[[Session], None]) -> int:
    """Calls `work` every `interval_s` seconds, until SIGTERM or SIGINT.

    Each round gets a session of its own; what `work` leaves uncommitted is committed with the beat.
    """
    configure_logging(name)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    with SessionLocal.begin() as session:
        beat = session.merge(Heartbeat(worker=name, pid=os.getpid(), interval_s=interval_s))
        beat.rounds = 0
        beat.started_at = beat.beat_at = utc_now()
    log.info("worker started", extra={"pid": os.getpid(), "interval_s": interval_s})

    while not stop.is_set():
        try:
            with SessionLocal() as session:
                work(session)
                beat = session.get_one(Heartbeat, name)
                beat.rounds += 1
                beat.beat_at = utc_now()
                session.commit()
        except OperationalError as error:
            if "locked" not in str(error.orig):
                raise
            # Another process holds the database; the next round is soon enough.
            log.warning("round skipped: %s", error.orig)
        stop.wait(interval_s)
    log.info("worker stopped")
    return 0


def is_stale(beat: Heartbeat) -> bool:
    return utc_now() - beat.beat_at > timedelta(seconds=MISSED_BEATS_MAX * beat.interval_s)


def main() -> int:
    """Exits with 0 if the worker has beaten in time: `python -m backend.worker guardian`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("worker")
    name = parser.parse_args().worker
    with SessionLocal() as session:
        beat = session.get(Heartbeat, name)
    if beat is None or is_stale(beat):
        print(f"{name}: no sign of life" + (f" since {beat.beat_at}" if beat else ""))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
