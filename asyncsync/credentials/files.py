"""The files in which docker and podman keep logins, as values (containers-auth.json(5))."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asyncsync.model.access import Credential
from asyncsync.model.errors import ConfigurationError
from asyncsync.model.place import DOCKER_HUB

FILE_BYTES_MAX = 1024 * 1024  # of one file; real ones have a few KiB
HUB_SERVER = "https://index.docker.io/v1/"  # docker's key for its own registry
_HUB_HOSTS = frozenset({DOCKER_HUB, "index.docker.io", "registry-1.docker.io"})
_HELPER = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
)  # no `/`: it is the end of a program's name
_IDENTITY_USER = (
    "<token>"  # the user whose password is an identity token (docker-credential-helpers)
)


@dataclass(frozen=True, slots=True)
class LoginFile:
    """One file of logins. `name` is what messages call it."""

    name: str
    logins: Mapping[str, Credential] = field(default_factory=dict)
    helpers: Mapping[str, str] = field(default_factory=dict)
    store: str = ""

    def login(self, keys: Sequence[str]) -> Credential | None:
        """The login that is stored under the first of `keys` that has one."""
        return next((self.logins[key] for key in keys if key in self.logins), None)


def credential_key(text: str) -> str:
    """One normal form for the keys that docker has used over the years: host[/namespace…]."""
    bare = re.sub(r"^https?://", "", text.strip()).rstrip("/")
    bare = re.sub(r"/v[12]$", "", bare)
    host, slash, path = bare.partition("/")
    host = host.lower()
    return (DOCKER_HUB if host in _HUB_HOSTS else host) + slash + path


def keys_for(host: str, repository: str) -> list[str]:
    """Where a login for `repository` may stand, most specific first, the bare host last."""
    parts = repository.split("/")
    return [*(f"{host}/{'/'.join(parts[:end])}" for end in range(len(parts), 0, -1)), host]


def server_of(host: str) -> str:
    """What docker calls a registry when it speaks to helpers and engines."""
    return HUB_SERVER if host == DOCKER_HUB else host


def credential_of(username: str, secret: str) -> Credential | None:
    """The pair as a Credential; nobody if there is no secret."""
    if not secret:
        return None
    if username == _IDENTITY_USER:
        return Credential(username=username, identity_token=secret)
    return Credential(username=username, password=secret)


def read_logins(instead: Path | None, environ: Mapping[str, str]) -> tuple[LoginFile, ...]:
    """All files of logins that exist, in the order in which they are asked.

    Raises ConfigurationError that names the file, and the line if it is no JSON.
    """
    if instead is not None:
        files = [instead / "config.json" if instead.is_dir() else instead]
        texts = [(str(file), _read(file)) for file in files]
    else:
        inline = ("the variable DOCKER_AUTH_CONFIG", environ.get("DOCKER_AUTH_CONFIG", ""))
        texts = [inline, *((str(file), _read(file)) for file in _search(environ))]
    return tuple(parse_logins(text, name) for name, text in texts if text and text.strip())


def parse_logins(text: str, name: str) -> LoginFile:
    """Read one file's text. Raises ConfigurationError; its message never shows the content."""
    try:
        body = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{name}:{error.lineno}:{error.colno}"
        raise ConfigurationError(f"{where}: this is no JSON: {error.msg}") from None
    except RecursionError:
        raise ConfigurationError(f"{name}: this is nested too deeply") from None
    if not isinstance(body, dict):
        raise ConfigurationError(f"{name}: this is no JSON object")
    entries = _object(body, "auths", name)
    logins = {}
    # Docker's own forms of a key count less than the plain one.
    for key in sorted(entries, key=lambda key: key == credential_key(key)):
        if (login := _login(entries[key], key, name)) is not None:
            logins[credential_key(key)] = login
    helpers = _object(body, "credHelpers", name)
    return LoginFile(
        name,
        logins,
        {credential_key(host): _helper(helper, name) for host, helper in helpers.items()},
        _helper(body["credsStore"], name) if body.get("credsStore") else "",
    )


def _search(environ: Mapping[str, str]) -> Iterator[Path]:
    if named := environ.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
    home = user_home(environ)
    if docker := environ.get("DOCKER_CONFIG"):
        yield Path(docker, "config.json")
    elif home:
        yield home / ".docker/config.json"
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime, "containers/auth.json")
    if config := environ.get("XDG_CONFIG_HOME"):
        yield Path(config, "containers/auth.json")
    elif home:
        yield home / ".config/containers/auth.json"


def user_home(environ: Mapping[str, str]) -> Path | None:
    """Where docker keeps its settings for this user; None where the user has no home."""
    if home := environ.get("HOME"):
        return Path(home)
    try:
        return Path.home()
    except RuntimeError:  # no such user, as in a container that runs under a bare number
        return None


def _read(file: Path) -> str | None:
    try:
        with file.open("rb") as opened:
            data = opened.read(FILE_BYTES_MAX + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from error
    if len(data) > FILE_BYTES_MAX:
        raise ConfigurationError(f"{file}: more than {FILE_BYTES_MAX} bytes are no file of logins")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file}: this is no UTF-8 text") from None


def _object(body: Mapping[str, Any], key: str, name: str) -> Mapping[str, Any]:
    found = body.get(key) or {}
    if not isinstance(found, dict):
        raise ConfigurationError(f"{name}: {key} is no JSON object")
    return found


def _helper(helper: object, name: str) -> str:
    if not isinstance(helper, str) or _HELPER.fullmatch(helper) is None:
        raise ConfigurationError(
            f"{name}: a credential helper is named by the end of its program's name, as ecr-login "
            "for docker-credential-ecr-login"
        )
    return helper


def _login(entry: object, key: str, name: str) -> Credential | None:
    if entry is None:
        return None
    if not isinstance(entry, dict):
        raise ConfigurationError(f"{name}: the login for {key!r} is no JSON object")
    fields = [entry.get(field) for field in ("username", "password", "auth")]
    tokens = [entry.get(field) for field in ("identitytoken", "registrytoken")]
    username, password, auth, identity, ready = (
        value if isinstance(value, str) else "" for value in (*fields, *tokens)
    )
    if auth:
        username, password = _pair(auth, key, name)
    try:
        if ready:
            return Credential(registry_token=ready)
        if identity:
            return Credential(username=username, identity_token=identity)
        return credential_of(username, password)
    except ConfigurationError as error:
        raise ConfigurationError(f"{name}: the login for {key!r} cannot be sent. {error}") from None


def _pair(auth: str, key: str, name: str) -> tuple[str, str]:
    try:
        text = base64.b64decode(auth, validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    username, colon, password = text.partition(":")  # the password may hold more of them
    if not colon:
        raise ConfigurationError(f"{name}: auth of {key!r} is no base64 of user:password")
    return username, password.strip("\0")
