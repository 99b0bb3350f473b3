"""Who may come in: logins in a file that `htpasswd -B` has written."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from pathlib import Path
from typing import Protocol

import bcrypt
from anyio import CapacityLimiter, to_thread

from asyncsync.model.errors import ConfigurationError
from asyncsync.model.foreign import shown
from asyncsync.server.errors import Code, Refused

_FILE_BYTES_MAX = 4 * 1024 * 1024
_LINE = re.compile(
    r"(?P<user>[^:\s][^:]*):(?P<hash>\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{53})"
)
_COST_MIN, _COST_MAX = 4, 14  # 14 is a second of a core for each login
_PASSWORD_BYTES = 72  # bcrypt looks at no more, and the library refuses longer ones
_HEADER_MAX = 4096  # characters
_AT_ONCE = 2  # a guesser gets no more of this machine
_REMEMBERED_MAX = 1000


class Access(Protocol):
    """Whether a request may come in."""

    async def check(self, authorization: str | None) -> None:
        """Raise Refused (401) unless `authorization`, the header, is a good login."""


class Open:
    """Everybody may come in."""

    async def check(self, authorization: str | None) -> None:
        """Let it in."""


class Htpasswd:
    """Those in the file may come in, with Basic (RFC 7617); it is read once."""

    def __init__(self, hashes: dict[str, bytes]) -> None:
        self._hashes = hashes
        # For users who are not there, as costly as the others: the time tells no names.
        cost = max((int(each[4:6]) for each in hashes.values()), default=_COST_MIN)
        self._nobody = bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(cost))
        self._turns = CapacityLimiter(_AT_ONCE)
        self._key = secrets.token_bytes(32)
        self._good: dict[bytes, None] = {}  # logins that were right, hashed with a key of ours

    async def check(self, authorization: str | None) -> None:
        """Raise Refused (401) unless it is a good login. bcrypt runs in a thread."""
        login = _basic(authorization)
        if login is None:
            raise _unauthorized("log in first")
        user, password = login
        # Each part has its length before it: no two logins are the same bytes.
        seen = b"%d:%b%b" % (len(user), user.encode(), password)
        mark = hmac.digest(self._key, seen, hashlib.sha256)
        if mark in self._good:
            return
        async with self._turns:
            if mark in self._good:  # while we waited
                return
            right = await to_thread.run_sync(self._right, user, password)
        if not right:
            raise _unauthorized("user or password is wrong")
        if len(self._good) >= _REMEMBERED_MAX:
            self._good.clear()
        self._good[mark] = None

    def _right(self, user: str, password: bytes) -> bool:
        expected = self._hashes.get(user)
        try:
            same = bcrypt.checkpw(password[:_PASSWORD_BYTES], expected or self._nobody)
        except ValueError:  # a NUL in it
            return False
        return same and expected is not None


def read_htpasswd(path: Path) -> Htpasswd:
    """The logins of a file. Raises ConfigurationError that names the line, and no secret."""
    name = shown(str(path))
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_BYTES_MAX + 1)
        text = data.decode("utf-8-sig")  # editors on Windows begin a file with a mark
    except OSError as error:
        why = shown(error.strerror or str(error))
        raise ConfigurationError(f"--htpasswd {name} cannot be read: {why}.") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"--htpasswd {name} is no UTF-8.") from None
    if len(data) > _FILE_BYTES_MAX:
        raise ConfigurationError(f"--htpasswd {name} is larger than {_FILE_BYTES_MAX >> 20} MiB.")
    hashes: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            what = "is no user with a bcrypt hash"
        elif not _COST_MIN <= int(match["cost"]) <= _COST_MAX:
            what = f"has a cost outside {_COST_MIN} to {_COST_MAX}"
        else:
            hashes.setdefault(match["user"], match["hash"].encode())
            continue
        raise ConfigurationError(
            f"--htpasswd {name}: line {number} {what}. Write it with: htpasswd -B {name} USER."
        )
    if not hashes:
        raise ConfigurationError(
            f"--htpasswd {name} names no user. Add one: htpasswd -B {name} USER."
        )
    return Htpasswd(hashes)


def _basic(header: str | None) -> tuple[str, bytes] | None:
    scheme, _, coded = (header or "").partition(" ")
    if scheme.lower() != "basic" or len(coded) > _HEADER_MAX:
        return None
    try:
        user, found, password = base64.b64decode(coded.strip(), validate=True).partition(b":")
        return (user.decode(), password) if found else None
    except (binascii.Error, ValueError):
        return None


def _unauthorized(why: str) -> Refused:
    headers = {"WWW-Authenticate": 'Basic realm="asyncsync", charset="UTF-8"'}
    # What comes behind it is not read: it may be a layer.
    return Refused(401, Code.UNAUTHORIZED, why, headers=headers)
