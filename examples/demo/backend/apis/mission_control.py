"""The queue of missions."""

from typing import Literal

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy import select

from backend.apis.common import DatabaseSession, FromRow, Limit, UtcTime, found
from backend.database import utc_now
from backend.mission_control.actions import ACTIONS
from backend.models import Mission

router = APIRouter(prefix="/api/mission_control", tags=["mission_control"])

Status = Literal["queued", "running", "done", "failed", "cancelled"]


class MissionIn(BaseModel):
    title: str = Field(min_length=1, max_length=200)
    action: str
    priority: int = Field(5, ge=1, le=9, description="1 is the most urgent")


class MissionOut(FromRow):
    id: int
    title: str
    action: str
    status: Status
    priority: int
    result: str | None
    created_at: UtcTime
    finished_at: UtcTime | None


@router.get("/missions", response_model=list[MissionOut])
def missions(session: DatabaseSession, status: Status | None = None, limit: Limit = 50):
    """The newest first."""
    query = select(Mission).order_by(Mission.id.desc()).limit(limit)
    if status is not None:
        query = query.where(Mission.status == status)
    return session.scalars(query).all()


@router.post("/missions", status_code=201, response_model=MissionOut)
def queue_mission(session: DatabaseSession, mission: MissionIn):
    if mission.action not in ACTIONS:
        raise HTTPException(422, f"no such action; there are {', '.join(ACTIONS)}")
    row = Mission(**mission.model_dump())
    session.add(row)
    session.commit()
    session.refresh(row)
    return row


@router.get("/missions/{mission_id}", response_model=MissionOut)
def mission(session: DatabaseSession, mission_id: int):
    return found(session.get(Mission, mission_id), "mission")


@router.post("/missions/{mission_id}/cancel", response_model=MissionOut)
def cancel_mission(session: DatabaseSession, mission_id: int):
    row = found(session.get(Mission, mission_id), "mission")
    if row.status != "queued":
        raise HTTPException(409, f"the mission is {row.status}")
    row.status = "cancelled"
    row.finished_at = utc_now()
    session.commit()
    return row
