"""What the application takes from its environment.

Every variable is read when it is asked for, so that importing a module never fails for want of one.
"""

import os
from pathlib import Path

SECRET_KEY_LENGTH_MIN = 32
"""Characters. Nothing is signed with a shorter key, such as a placeholder."""


class ConfigError(RuntimeError):
    """A variable is missing or its value cannot be used."""


class Settings:
    """The environment, typed and checked."""

    @property
    def secret_key(self) -> bytes:
        """Signs session tokens; never logged, never stored."""
        value = _present("SECRET_KEY", os.environ.get("SECRET_KEY"))
        if len(value) < SECRET_KEY_LENGTH_MIN:
            raise ConfigError(f"SECRET_KEY has fewer than {SECRET_KEY_LENGTH_MIN} characters")
        return value.encode()

    @property
    def database_url(self) -> str:
        return os.environ.get("DATABASE_URL", "sqlite:///data/app.db")

    @property
    def log_level(self) -> str:
        return _present("LOG_LEVEL", os.environ.get("LOG_LEVEL")).upper()

    @property
    def port(self) -> int:
        return _whole_number("PORT", os.environ.get("PORT", "8750"), 1)

    @property
    def inbox(self) -> Path:
        """Where the ingestion worker looks for new files."""
        return Path(os.environ.get("INBOX_DIR", "inbox"))

    @property
    def guardian_interval_s(self) -> int:
        """Seconds between two rounds of the guardian."""
        return _whole_number(
            "GUARDIAN_INTERVAL_SECONDS", os.environ.get("GUARDIAN_INTERVAL_SECONDS", "10"), 1
        )

    @property
    def session_hours(self) -> int:
        """How long a session token is good for."""
        return _whole_number("SESSION_HOURS", os.environ.get("SESSION_HOURS", "12"), 1)


def _present(name: str, value: str | None) -> str:
    if not value:
        raise ConfigError(f"{name} is not set")
    return value


def _whole_number(name: str, text: str, smallest: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise ConfigError(f"{name} is not a whole number") from None
    if value < smallest:
        raise ConfigError(f"{name} is less than {smallest}")
    return value


settings = Settings()
