"""All tables. Importing this module makes `Base.metadata` complete."""

from backend.database import Base
from backend.models.chat import ChatMessage
from backend.models.documents import Document
from backend.models.governance import Policy, PolicyDecision
from backend.models.identity import User, UserSession
from backend.models.memory import Memory
from backend.models.missions import Heartbeat, Mission
from backend.models.security import SecurityEvent
from backend.models.vault import VaultEntry

# Tables that live beside their service; they need `Base`, so they come last.
# isort: split
import backend.learning.models  # noqa: F401

__all__ = [
    "Base",
    "ChatMessage",
    "Document",
    "Heartbeat",
    "Memory",
    "Mission",
    "Policy",
    "PolicyDecision",
    "SecurityEvent",
    "User",
    "UserSession",
    "VaultEntry",
]
