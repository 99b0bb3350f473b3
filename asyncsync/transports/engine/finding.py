"""Where the engine is, by docker's own rules, and a connection to it.

Docker CLI, “docker context”: DOCKER_HOST beats DOCKER_CONTEXT beats `currentContext` of the
config; without any, the default sockets. aiodocker orders these otherwise, ignores DOCKER_CONFIG
and fails with bare assertions, so the address is found here and only handed to it.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from asyncsync.credentials import user_home
from asyncsync.model.errors import ConfigurationError, EngineUnavailable
from asyncsync.model.foreign import shown


@contextmanager
def _some_home() -> Iterator[None]:
    if user_home(os.environ):
        yield
    else:
        os.environ["HOME"] = os.devnull
        try:
            yield
        finally:
            del os.environ["HOME"]


# While it is imported, aiodocker wants to know the home, for sockets that we never let it look for,
# and a user without one would end in a traceback.
with _some_home():
    import aiodocker

DEFAULT_SOCKET = Path("/var/run/docker.sock")
_META_BYTES_MAX = 1024 * 1024
# Pulls and pushes set their own; everything else is answered within seconds by a living engine.
CALL_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=120)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An engine's address: `unix://…`, `tcp://…`, `ssh://…`. `tls`: ca.pem, cert.pem, key.pem."""

    url: str
    tls: Path | None = None
    verify: bool = True


def find(environ: Mapping[str, str]) -> Endpoint:
    """The engine that the docker command would use. Asks nobody.

    Raises ConfigurationError for a context that does not exist or cannot be read.
    """
    home = user_home(environ) or Path("/nonexistent")  # a bare user number has none
    config = Path(environ.get("DOCKER_CONFIG") or home / ".docker")
    if host := environ.get("DOCKER_HOST"):
        secure = bool(environ.get("DOCKER_TLS_VERIFY"))
        folder = Path(environ.get("DOCKER_CERT_PATH") or config)
        return Endpoint(host, folder if secure else None)
    name = environ.get("DOCKER_CONTEXT") or _current_context(config)
    if name and name != "default":
        return _context(config, name)
    for default in (DEFAULT_SOCKET, home / ".docker/run/docker.sock"):
        with suppress(OSError):  # of somebody else's home
            if default.is_socket():
                return Endpoint(f"unix://{default}")
    return Endpoint(f"unix://{DEFAULT_SOCKET}")


def open_client(endpoint: Endpoint) -> aiodocker.Docker:
    """A client for `endpoint`; whoever asked for it closes it. Asks nobody yet.

    Raises ConfigurationError for an address or certificates that cannot be used.
    """
    try:
        address = urlsplit(endpoint.url)
        _ = address.port
    except ValueError:  # tcp://[::1, tcp://host:99999
        raise _no_address(endpoint.url) from None
    match address.scheme:
        case "unix":
            # No limit on sockets: a worker that waits for one while it holds another would hang.
            unix = aiohttp.UnixConnector(address.path, limit=0)
            return _client("unix://localhost", unix)
        case "tcp" | "http" | "https" if address.hostname:
            context = _ssl(endpoint)
            scheme = "https" if context or address.scheme == "https" else "http"
            tcp = aiohttp.TCPConnector(ssl=context or True, limit=0)
            return _client(f"{scheme}://{address.netloc}{address.path.rstrip('/')}", tcp)
        case "ssh" if address.netloc:
            try:
                return aiodocker.Docker(url=endpoint.url, timeout=CALL_TIMEOUT)
            except (aiodocker.DockerError, ValueError, OSError) as error:
                why = error.message if isinstance(error, aiodocker.DockerError) else str(error)
                raise ConfigurationError(
                    f"{shown(endpoint.url)} cannot be used: {shown(why)}"
                ) from error
    raise _no_address(endpoint.url)


def unavailable(endpoint: Endpoint, why: str) -> EngineUnavailable:
    """What to say when nobody answers at `endpoint`, and why."""
    address = urlsplit(endpoint.url)
    if address.scheme == "unix" and not os.path.exists(address.path):
        why = "no such file"
    return EngineUnavailable(f"No Docker Engine answers at {shown(endpoint.url)} ({why})")


def reason(error: BaseException) -> str:
    """Why a connection failed, in words; foreign exceptions carry them at different depths."""
    cause: BaseException | None = error
    while cause is not None:
        # aiohttp's are of the system's and of ssl's kinds, without what these say.
        if isinstance(cause, aiohttp.ClientConnectorCertificateError):
            cause = cause.certificate_error
        elif isinstance(cause, aiohttp.ClientConnectorError):
            cause = cause.os_error
        match cause:
            case ssl.SSLCertVerificationError():
                return f"its certificate is not trusted: {shown(cause.verify_message)}"
            case ssl.SSLError():
                return "it speaks no TLS, or another one"
            case socket.gaierror():
                return "its name cannot be resolved"
            case OSError(errno=int(number)):
                return os.strerror(number).lower()
        cause = cause.__cause__ or cause.__context__
    return shown(str(error))


def _no_address(url: str) -> ConfigurationError:
    return ConfigurationError(
        f"{shown(url)!r} is no address of a Docker Engine. Write unix:///path/to/docker.sock, "
        "tcp://host:2376 or ssh://user@host, as in DOCKER_HOST."
    )


def _client(url: str, connector: aiohttp.BaseConnector) -> aiodocker.Docker:
    session = aiohttp.ClientSession(connector=connector, timeout=CALL_TIMEOUT, trust_env=False)
    return aiodocker.Docker(url=url, connector=connector, session=session, timeout=CALL_TIMEOUT)


def _ssl(endpoint: Endpoint) -> ssl.SSLContext | None:
    if endpoint.tls is None:
        return None
    try:
        ca = endpoint.tls / "ca.pem"
        context = ssl.create_default_context(cafile=ca if ca.exists() else None)
        if (endpoint.tls / "cert.pem").exists():
            context.load_cert_chain(endpoint.tls / "cert.pem", endpoint.tls / "key.pem")
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"the engine's certificates in {endpoint.tls} cannot be read: {shown(str(error))}"
        ) from error
    if not endpoint.verify:  # the context itself says SkipTLSVerify
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _current_context(config: Path) -> str | None:
    match _json(config / "config.json", missing={}):
        case {"currentContext": str(name)}:
            return name
    return None


def _context(config: Path, name: str) -> Endpoint:
    # The folder's name is the hash of the context's (docker/cli, context store).
    folder = hashlib.sha256(name.encode(errors="replace")).hexdigest()
    meta = config / "contexts" / "meta" / folder / "meta.json"
    match _json(meta, missing=None):
        case None:
            raise ConfigurationError(
                f"the docker context {shown(name)!r} does not exist ({meta} is missing). "
                "See docker context ls, or set DOCKER_HOST."
            )
        case {"Endpoints": {"docker": {"Host": str(host), **rest}}}:
            tls = config / "contexts" / "tls" / folder / "docker"
            return Endpoint(
                host, tls if tls.is_dir() else None, rest.get("SkipTLSVerify") is not True
            )
    raise ConfigurationError(f"{meta} names no docker endpoint")


def _json(path: Path, missing: object) -> object:
    try:
        with path.open("rb") as file:
            return json.loads(file.read(_META_BYTES_MAX))
    except FileNotFoundError:
        return missing
    except (OSError, ValueError, RecursionError) as error:
        why = (isinstance(error, OSError) and error.strerror) or str(error)
        raise ConfigurationError(f"{path} cannot be read: {shown(why)}") from error
