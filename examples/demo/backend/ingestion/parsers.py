"""From the text of a file to title and body."""

import re
from pathlib import Path
from typing import NamedTuple


class Parsed(NamedTuple):
    title: str
    body: str


def parse_text(name: str, text: str) -> Parsed:
    """Plain text has no title; the name of the file is one."""
    return Parsed(Path(name).stem, text.strip())


def parse_markdown(name: str, text: str) -> Parsed:
    """The first heading is the title; emphasis and the addresses of links go."""
    heading = re.search(r"^#+\s+(.+)$", text, re.MULTILINE)
    body = text if heading is None else text[: heading.start()] + text[heading.end() :]
    body = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", body)
    body = re.sub(r"(\*\*|__|`)(.+?)\1", r"\2", body)
    title = heading.group(1).strip() if heading else Path(name).stem
    return Parsed(title, body.strip())
