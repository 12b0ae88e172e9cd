"""Secrets and tokens."""

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field, SecretStr
from sqlalchemy import select

from backend.apis.common import DatabaseSession, FromRow, UtcTime, found
from backend.database import utc_now
from backend.guardian.events import record
from backend.models import User, VaultEntry
from backend.vault import secrets, tokens

router = APIRouter(prefix="/api/vault", tags=["vault"])


class SecretIn(BaseModel):
    value: SecretStr = Field(min_length=8, max_length=1000)


class EntryOut(FromRow):
    name: str
    created_at: UtcTime
    checked_at: UtcTime | None


class CheckOut(BaseModel):
    matches: bool


class SignIn(BaseModel):
    email: str


class TokenOut(BaseModel):
    token: str
    expires_at: UtcTime


class TokenIn(BaseModel):
    token: SecretStr


class WhoOut(FromRow):
    name: str
    email: str
    role: str


@router.get("/entries", response_model=list[EntryOut])
def entries(session: DatabaseSession):
    """The names; the secrets cannot be read back."""
    return session.scalars(select(VaultEntry).order_by(VaultEntry.name)).all()


@router.put("/entries/{name}", response_model=EntryOut)
def put_entry(session: DatabaseSession, name: str, secret: SecretIn):
    row = session.get(VaultEntry, name) or VaultEntry(name=name)
    row.salt = secrets.new_salt()
    row.digest = secrets.digest(secret.value.get_secret_value(), row.salt)
    session.add(row)
    session.commit()
    session.refresh(row)
    return row


@router.post("/entries/{name}/check")
def check_entry(session: DatabaseSession, name: str, secret: SecretIn) -> CheckOut:
    row = found(session.get(VaultEntry, name), "entry")
    matches = secrets.matches(secret.value.get_secret_value(), row.salt, row.digest)
    row.checked_at = utc_now()
    if not matches:
        record(session, "secret_mismatch", "warning", "vault", f"wrong value for entry {name}")
    session.commit()
    return CheckOut(matches=matches)


@router.post("/tokens", status_code=201)
def issue_token(session: DatabaseSession, sign_in: SignIn) -> TokenOut:
    """A token for a user. Whoever runs this for real asks for proof first."""
    user = session.scalars(select(User).where(User.email == sign_in.email, User.active)).first()
    token, row = tokens.issue(session, found(user, "user"))
    session.commit()
    return TokenOut(token=token, expires_at=row.expires_at)


@router.post("/tokens/verify", response_model=WhoOut)
def verify_token(session: DatabaseSession, given: TokenIn):
    user = tokens.verify(session, given.token.get_secret_value())
    if user is None:
        record(session, "token_rejected", "warning", "vault", "a token was forged or has expired")
        session.commit()
        raise HTTPException(401, "not a valid token")
    return user
