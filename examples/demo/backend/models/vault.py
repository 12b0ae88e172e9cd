"""Secrets that can be checked, but not read back."""

from datetime import datetime

from sqlalchemy import String, func
from sqlalchemy.orm import Mapped, mapped_column

from backend.database import Base


class VaultEntry(Base):
    """A salted digest of a secret (scrypt)."""

    __tablename__ = "vault_entries"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    salt: Mapped[bytes]
    digest: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(server_default=func.current_timestamp())
    checked_at: Mapped[datetime | None]
