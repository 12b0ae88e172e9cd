"""Works the queue of missions, the most urgent first, one a round."""

import logging
import sys

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.database import utc_now
from backend.mission_control.actions import ACTIONS
from backend.models import Mission
from backend.worker import run_worker

INTERVAL_S = 5

log = logging.getLogger(__name__)


def work_one(session: Session) -> None:
    mission = session.scalars(
        select(Mission)
        .where(Mission.status == "queued")
        .order_by(Mission.priority, Mission.id)
        .limit(1)
    ).first()
    if mission is None:
        return
    try:
        # A savepoint: what a failed action wrote is undone, that it failed is not.
        with session.begin_nested():
            mission.result = ACTIONS[mission.action](session)
        mission.status = "done"
    except Exception as error:
        log.exception("mission %d failed", mission.id)
        mission.result = f"{type(error).__name__}: {error}"
        mission.status = "failed"
    mission.finished_at = utc_now()
    log.info("mission %d is %s", mission.id, mission.status, extra={"result": mission.result})


if __name__ == "__main__":
    sys.exit(run_worker("mission_control", INTERVAL_S, work_one))
