"""Conversations."""

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy import func, select
from sqlalchemy.orm import joinedload

from backend.apis.common import DatabaseSession, Limit, UtcTime, found
from backend.models import ChatMessage, User

router = APIRouter(prefix="/api/chat", tags=["chat"])


class MessageIn(BaseModel):
    user_id: int
    text: str = Field(min_length=1, max_length=4000)


class MessageOut(BaseModel):
    id: int
    author: str
    text: str
    created_at: UtcTime


@router.get("/rooms")
def rooms(session: DatabaseSession) -> dict[str, int]:
    """Number of messages by room."""
    counts = select(ChatMessage.room, func.count(ChatMessage.id)).group_by(ChatMessage.room)
    return dict(session.execute(counts.order_by(ChatMessage.room)).tuples().all())


@router.get("/rooms/{room}/messages")
def messages(session: DatabaseSession, room: str, limit: Limit = 50) -> list[MessageOut]:
    """The last messages, in the order in which they were written."""
    query = (
        select(ChatMessage)
        .options(joinedload(ChatMessage.user))
        .where(ChatMessage.room == room)
        .order_by(ChatMessage.id.desc())
        .limit(limit)
    )
    return [_message_out(row) for row in reversed(session.scalars(query).all())]


@router.post("/rooms/{room}/messages", status_code=201)
def write(session: DatabaseSession, room: str, message: MessageIn) -> MessageOut:
    user = found(session.get(User, message.user_id), "user")
    row = ChatMessage(room=room, user=user, text=message.text)
    session.add(row)
    session.commit()
    session.refresh(row)
    return _message_out(row)


def _message_out(row: ChatMessage) -> MessageOut:
    return MessageOut(id=row.id, author=row.user.name, text=row.text, created_at=row.created_at)
