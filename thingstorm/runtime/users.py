"""The user file: a line `NAME:scrypt:SALT:HASH` for each person who may log in."""

import base64
import hashlib
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from contracts.errors import ConfigError

COST, BLOCK, PARALLEL = 2**14, 8, 1
"""scrypt with 16 MB and some 40 ms a try (its author's figures for logins)."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
MIN_PASSWORD = 10


def read_users(path: Path) -> Mapping[str, str]:
    """Names with their salted hashes. Raises ConfigError: no such file, or a line that is none of ours."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the user file {path} cannot be read: {error}", fix="make one: thingstorm users add"
        ) from None
    users: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        if not _NAME.fullmatch(name) or rest.count(":") != 2 or not rest.startswith("scrypt:"):
            raise ConfigError(
                f"{path}:{number} is no NAME:scrypt:SALT:HASH", fix="write it by: thingstorm users add"
            )
        users[name] = rest
    if not users:
        raise ConfigError(f"the user file {path} names nobody", fix="thingstorm users add")
    return users


def add_user(path: Path, name: str, password: str) -> None:
    """Add or replace a person. Raises ConfigError for a name or password that is not acceptable."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"'{name}' is no user name", fix="use letters, digits and . _ @ -, at most 64")
    if len(password) < MIN_PASSWORD:
        raise ConfigError("the password is too short", fix=f"use {MIN_PASSWORD} characters or more")
    others = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = [line for line in others if line.partition(":")[0] != name]
    salt = secrets.token_bytes(16)
    told = ":".join([name, "scrypt", _text(salt), _text(_hash(password, salt))])
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("\n".join([*kept, told]) + "\n")


def fits(password: str, kept: str) -> bool:
    """Whether this is the password of the kept hash; takes as long for a wrong one."""
    _, salt, wanted = kept.split(":")
    return secrets.compare_digest(_hash(password, base64.b64decode(salt)), base64.b64decode(wanted))


NOBODY = ":".join(["scrypt", base64.b64encode(b"nobody").decode(), base64.b64encode(b"-" * 64).decode()])
"""What the password of an unknown name is held against, so that it takes as long as a known one's."""


def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=COST, r=BLOCK, p=PARALLEL)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
