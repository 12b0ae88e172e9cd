"""One-shot: makes room for the log of this run. Moves a large file away, keeps the last few."""

import logging
import sys
from pathlib import Path

from backend.logs import LOG_FILE, configure_logging

SIZE_MAX_BYTES = 5_000_000
GENERATIONS = 3

log = logging.getLogger(__name__)


def rotate(file: Path, size_max: int = SIZE_MAX_BYTES, generations: int = GENERATIONS) -> bool:
    """Whether the file was moved: `app.jsonl` to `app.jsonl.1`, that to `.2`, the last one goes."""
    if not file.exists() or file.stat().st_size <= size_max:
        return False
    for age in range(generations - 1, 0, -1):
        older = file.with_name(f"{file.name}.{age}")
        if older.exists():
            older.replace(file.with_name(f"{file.name}.{age + 1}"))
    file.replace(file.with_name(f"{file.name}.1"))
    return True


def main() -> int:
    rotated = rotate(LOG_FILE)
    configure_logging("logging")
    log.info("log ready", extra={"file": str(LOG_FILE), "rotated": rotated})
    return 0


if __name__ == "__main__":
    sys.exit(main())
