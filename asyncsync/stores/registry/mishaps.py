"""The one seam where aiohttp's exceptions become ours."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from multidict import MultiMapping
from yarl import URL

from asyncsync.model.errors import CopyError, RegistryUnavailable, TimedOut, TlsError, Where
from asyncsync.model.foreign import shown
from asyncsync.stores.registry.answers import line_of

# OpenSSL's words for an answer that is no TLS: a server that speaks plain HTTP sends an error page.
_NO_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"}
)
_CUT = frozenset({"UNEXPECTED_EOF_WHILE_READING"})
_PERHAPS_TLS = "If it speaks TLS, leave out --plain-http {}; else see what it is."
_PERHAPS_PLAIN = (
    "If it is meant to speak none: --plain-http {}, and for an engine insecure-registries in its "
    "daemon.json (podman: insecure in registries.conf), or no engine: --via direct."
)

_CHECK_PROXY = (
    "Check the proxy that HTTPS_PROXY or HTTP_PROXY names; NO_PROXY names who needs none."
)
_PROXY_LOGIN = (
    "Write user and password into HTTPS_PROXY or HTTP_PROXY, as http://USER:PASSWORD@host:port, "
    "and what is no letter or digit as in URLs (@ is %40); NO_PROXY names who needs none."
)
_PROXY_NO_BASIC = (
    "Name one in HTTPS_PROXY or HTTP_PROXY that takes user and password, or that logs in there for "
    "you; NO_PROXY names who needs none."
)
_PROXY_BY_TLS = (
    " One that speaks no TLS itself is written with http://; --ca-file FILE trusts the CA of one "
    "that does."
)

# Behind the name of whoever is asked through a proxy: what breaks off, stands still or shows a
# certificate that nobody knows may be either of them.
OR_ITS_PROXY = ", or the proxy before it,"


class AddressRefused(OSError):
    """A name led to an address to which the registry must not send us."""


class Dripping(TimeoutError):
    """A body comes, but so slowly that it will not end."""

    def __init__(self, count: int, seconds: float) -> None:
        super().__init__(f"only {count} bytes in {seconds:.0f} s")


@contextmanager
def asking(
    at: str,
    where: Where,
    *,
    idle_seconds: float,
    connect_seconds: float,
    said_plain: bool = False,
    proxy: URL | None = None,
) -> Iterator[None]:
    """Turn what goes wrong on the way to `at` (host and port) into our errors.

    Most specific first: aiohttp's timeouts are connection errors too. Where an exception's text
    holds bytes of the other side, it is hidden: they may be our own secrets, sent back.
    `said_plain`: it is asked without TLS because the user says that it speaks none. `proxy`: who is
    asked in its place.
    """
    speaker = f"{at}{OR_ITS_PROXY}" if proxy else at
    try:
        yield
    except aiohttp.ClientConnectorError as error:  # TLS errors too
        if proxy and (error.host, error.port) == (proxy.raw_host, proxy.port):
            raise _proxy_fails(error, at, where, proxy) from error
        raise _unreachable(error, speaker, where) from error
    except aiohttp.ConnectionTimeoutError as error:
        what = f"{speaker} took no connection within {connect_seconds:.0f} s"
        raise TimedOut(what, where) from error  # it will take none in a second either
    except aiohttp.ServerTimeoutError as error:
        raise TimedOut(
            f"{speaker} sent nothing for {idle_seconds:.0f} s", where, transient=True
        ) from error
    except Dripping as error:
        raise TimedOut(f"{speaker} sent {error}", where, transient=True) from error
    except TimeoutError as error:
        raise TimedOut(f"{speaker} did not answer in time", where, transient=True) from error
    except aiohttp.ClientHttpProxyError as error:
        has_login = bool(proxy and proxy.raw_user)
        raise _proxy_refuses(error.status, error.headers, at, where, has_login=has_login) from None
    except (aiohttp.ClientResponseError, aiohttp.InvalidURL):
        failed = RegistryUnavailable(f"{speaker} sent something that is no HTTP", where)
        raise failed.advising(_PERHAPS_TLS.format(at) if said_plain else "") from None
    except (aiohttp.ClientError, OSError):
        failed = RegistryUnavailable(f"{speaker} broke the connection off", where, transient=True)
        raise failed.advising(_PERHAPS_TLS.format(at) if said_plain else "") from None


def speaks_no_tls(error: BaseException | None) -> bool:
    """Whether the other side of a TLS handshake answered with something else, or hung up."""
    if not isinstance(error, aiohttp.ClientConnectorError):
        return False
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return False
    inner = error.os_error
    if isinstance(inner, ssl.SSLError):
        return inner.reason in _NO_TLS | _CUT or isinstance(inner, ssl.SSLEOFError)
    return isinstance(inner, ConnectionResetError)


def _proxy_refuses(
    status: int, headers: MultiMapping[str] | None, at: str, where: Where, *, has_login: bool
) -> CopyError:
    """What it means that the proxy before `at` answers in its place, and lets nobody through."""
    line = line_of(status)
    if status != 407:
        passing = status >= 500  # it has asked for `at`, and reached nobody
        failed = RegistryUnavailable(f"the proxy before {at} answered {line}", where, passing)
        reached = f"Check that {at} is up and that the proxy reaches it, then run it again."
        return failed.advising(reached if passing else _CHECK_PROXY)
    offered = headers.getall("Proxy-Authenticate", []) if headers else []
    if offered and not any("basic" in challenge.lower() for challenge in offered):
        what = f"the proxy before {at} takes no login by user and password ({line})"
        return RegistryUnavailable(what, where).advising(_PROXY_NO_BASIC)
    did = "refuses the login in its URL" if has_login else "wants a login"
    failed = RegistryUnavailable(f"the proxy before {at} {did} ({line})", where)
    return failed.advising(_PROXY_LOGIN)


def _proxy_fails(
    error: aiohttp.ClientConnectorError, at: str, where: Where, proxy: URL
) -> CopyError:
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        what, transient = f"the proxy before {at} does not answer ({_reason(error.os_error)})", True
    else:
        failed = _unreachable(error, f"the proxy before {at}", where)
        what, transient = failed.what, failed.transient
    advice = f"{_CHECK_PROXY}{_PROXY_BY_TLS if proxy.scheme == 'https' else ''}"
    return RegistryUnavailable(what, where, transient).advising(advice)


def _unreachable(error: aiohttp.ClientConnectorError, at: str, where: Where) -> CopyError:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        known = isinstance(error.os_error, socket.gaierror)
        final = known and error.os_error.errno == socket.EAI_NONAME
        what = f"the name of {at} cannot be resolved ({_reason(error.os_error)})"
        return RegistryUnavailable(what, where, transient=not final).being_away()
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = _verdict(error.certificate_error)
        return TlsError(f"{at} shows a certificate that is not trusted here ({why})", where)
    match error.os_error:
        case AddressRefused() as refused:
            return CopyError(f"{where.registry} sends us to {at}, {refused}: refused", where)
        case ssl.SSLError(reason=reason) if reason in _CUT:
            return RegistryUnavailable(f"{at} broke the TLS handshake off", where, transient=True)
        case ssl.SSLError(reason=reason) if reason in _NO_TLS:
            advice = _PERHAPS_PLAIN.format(where.registry)
            return TlsError(f"{at} speaks no TLS", where).advising(advice)
        case ssl.SSLError() as failed:
            return TlsError(f"no TLS with {at} ({_reason(failed)})", where)
        case ConnectionRefusedError():
            port = "" if at.endswith(f":{error.port}") else f" on port {error.port}"
            what = f"nothing listens at {at}{port} (connection refused)"
            return RegistryUnavailable(what, where, transient=True).being_away()
        case other:
            what = f"{at} cannot be reached ({_reason(other)})"
            return RegistryUnavailable(what, where, transient=True).being_away()


def _verdict(error: Exception) -> str:
    return shown(getattr(error, "verify_message", "") or "it does not fit", limit=120)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return shown(error.strerror or type(error).__name__, limit=120)
