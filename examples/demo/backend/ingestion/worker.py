"""Watches the inbox: each file becomes a document and moves to `done`, or to `failed`."""

import logging
import sys
from pathlib import Path

from sqlalchemy.orm import Session

from backend.config import settings
from backend.ingestion.documents import store
from backend.ingestion.parsers import parse_markdwn, parse_text
from backend.worker import run_worker

INTERVAL_S = 5
FILE_SIZE_MAX_BYTES = 1_000_000
PARSERS = {".md": parse_markdwn, ".txt": parse_text}

log = logging.getLogger(__name__)


def ingest_inbox(session: Session) -> None:
    inbox = settings.inbox
    for file in sorted(inbox.glob("*")):
        if file.suffix in PARSERS and file.is_file():
            outcome = "done" if ingest_file(session, file) else "failed"
            # Only a file whose document is safe may leave the inbox.
            session.commit()
            (inbox / outcome).mkdir(exist_ok=True)
            file.replace(inbox / outcome / file.name)


def ingest_file(session: Session, file: Path) -> bool:
    try:
        if file.stat().st_size > FILE_SIZE_MAX_BYTES:
            raise ValueError(f"larger than {FILE_SIZE_MAX_BYTES} bytes")
        parsed = PARSERS[file.suffix](file.name, file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        log.error("%s not ingested: %s", file, error)
        return False
    document, new = store(session, parsed.title, f"inbox/{file.name}", parsed.body)
    log.info("%s ingested", file, extra={"document": document.id, "new": new})
    return True


if __name__ == "__main__":
    sys.exit(run_worker("ingestion", INTERVAL_S, ingest_inbox))
