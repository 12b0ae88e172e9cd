"""Storing documents, each text once."""

import hashlib

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.models import Document

TITLE_LENGTH_MAX = 200


def store(session: Session, title: str, source: str, body: str) -> tuple[Document, bool]:
    """The document with this body, and whether it is new."""
    digest = hashlib.sha256(body.encode()).hexdigest()
    known = session.scalars(select(Document).where(Document.sha256 == digest)).first()
    if known is not None:
        return known, False
    document = Document(
        title=title[:TITLE_LENGTH_MAX],
        source=source,
        body=body,
        words=len(body.split()),
        sha256=digest,
    )
    session.add(document)
    session.flush()
    return document, True
