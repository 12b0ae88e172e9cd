"""What a mission can do. An action takes a session and returns one line about what came of it."""

from collections.abc import Callable

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.database.check import integrity_problems, row_counts
from backend.models import Document, Memory


def check_database(session: Session) -> str:
    problems = integrity_problems(session)
    if problems:
        raise RuntimeError("; ".join(problems))
    return f"no problem, rows: {sum(row_counts(session).values())}"


def summarize_documents(session: Session) -> str:
    count, words = session.execute(
        select(func.count(Document.id), func.coalesce(func.sum(Document.words), 0))
    ).one()
    return f"documents: {count}, words: {words}"


def remember_documents(session: Session) -> str:
    """One memory for each document that has none."""
    known = select(Memory.document_id).where(Memory.document_id.is_not(None))
    documents = session.scalars(select(Document).where(Document.id.not_in(known))).all()
    for document in documents:
        first_line = document.body.strip().partition("\n")[0]
        session.add(Memory(topic=document.title[:100], content=first_line, document=document))
    return f"documents remembered: {len(documents)}"


ACTIONS: dict[str, Callable[[Session], str]] = {
    action.__name__: action for action in (check_database, summarize_documents, remember_documents)
}
