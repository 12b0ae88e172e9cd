"""The logging layer: one JSON object a line, on standard output and in `var/log/app.jsonl`."""

import json
import logging
import sys
from datetime import datetime, timezone
from logging.handlers import WatchedFileHandler
from pathlib import Path

from backend.config import settings

LOG_FILE = Path("var/log/app.jsonl")

_STANDARD_FIELDS = {*vars(logging.makeLogRecord({})), "message", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    """Time, level, service, logger, message, whatever was given as `extra`, and the traceback."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self.service = service

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, timezone.utc)
        entry = {
            "at": at.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": self.service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry.update({k: v for k, v in vars(record).items() if k not in _STANDARD_FIELDS})
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def configure_logging(service: str) -> None:
    """Sends the log of this process, with uvicorn's own lines, to standard output and the file."""
    LOG_FILE.parent.mkdir(parents=True, exist_ok=True)
    # The file is opened anew after `backend.logs.rotate` has moved it away.
    handlers = [logging.StreamHandler(sys.stdout), WatchedFileHandler(LOG_FILE, encoding="utf-8")]
    for handler in handlers:
        handler.setFormatter(JsonFormatter(service))
    logging.basicConfig(level=settings.log_level, handlers=handlers, force=True)
    for name in ("uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
