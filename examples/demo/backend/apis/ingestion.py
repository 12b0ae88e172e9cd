"""Documents."""

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field
from sqlalchemy import select

from backend.apis.common import DatabaseSession, FromRow, Limit, UtcTime, found
from backend.ingestion.documents import store
from backend.models import Document

router = APIRouter(prefix="/api/ingestion", tags=["ingestion"])


class DocumentIn(BaseModel):
    title: str = Field(min_length=1, max_length=200)
    body: str = Field(min_length=1, max_length=1_000_000)


class DocumentSummary(FromRow):
    id: int
    title: str
    source: str
    words: int
    sha256: str | None
    created_at: UtcTime


class DocumentOut(DocumentSummary):
    body: str


@router.get("/documents", response_model=list[DocumentSummary])
def documents(session: DatabaseSession, limit: Limit = 50):
    """The newest first."""
    return session.scalars(select(Document).order_by(Document.id.desc()).limit(limit)).all()


@router.post("/documents", status_code=201, response_model=DocumentSummary)
def add_document(session: DatabaseSession, document: DocumentIn, response: Response):
    """201 for a new document; 200 and the known one where the same text is there already."""
    row, new = store(session, document.title, "api", document.body)
    session.commit()
    if not new:
        response.status_code = 200
    return row


@router.get("/documents/{document_id}", response_model=DocumentOut)
def document(session: DatabaseSession, document_id: int):
    return found(session.get(Document, document_id), "document")
