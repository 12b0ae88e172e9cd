"""Salted digests of secrets (scrypt, RFC 7914)."""

import hashlib
import hmac
import os

SALT_BYTES = 16
# Cost of one check: 16 MiB of memory and some tens of milliseconds.
_SCRYPT = {"n": 2**14, "r": 8, "p": 1, "dklen": 32}


def new_salt() -> bytes:
    return os.urandom(SALT_BYTES)


def digest(secret: str, salt: bytes) -> bytes:
    return hashlib.scrypt(secret.encode(), salt=salt, **_SCRYPT)


def matches(secret: str, salt: bytes, expected: bytes) -> bool:
    return hmac.compare_digest(digest(secret, salt), expected)
