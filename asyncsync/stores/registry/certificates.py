"""Whom a registry has to convince, and as whom we come: the TLS context of one host.

Docker's rule, “Verify repository client with certificates”: a folder is named as the host, with
its port; `*.crt` in it are CAs that are trusted for this host alone, `NAME.cert` and `NAME.key`
are a client certificate. podman and skopeo read folders of their own by the same rule
(containers-certs.d(5)).
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from anyio import to_thread
from yarl import URL

from asyncsync.credentials import user_home
from asyncsync.model.access import Access
from asyncsync.model.errors import (
    ConfigurationError,
    CopyError,
    RegistryUnavailable,
    TlsError,
    Where,
)
from asyncsync.model.foreign import shown
from asyncsync.model.place import Registry
from asyncsync.stores.registry.connections import trusting
from asyncsync.stores.registry.mishaps import speaks_no_tls

_SYSTEM = (Path("/etc/containers/certs.d"), Path("/etc/docker/certs.d"))
_USER = Path(".config/containers/certs.d")  # in the home; XDG_CONFIG_HOME does not count here
_HOSTS_MAX = 100  # that one registry names; whoever names more has them looked up again
_FILES_MAX = 1000  # of one host; a folder that holds more is not what it is taken for
_TRUST = (
    "It is where {registry} sends us. Trust its CA: --ca-file FILE, or "
    "/etc/docker/certs.d/{host}/ca.crt; to check nothing: --insecure-skip-verify {host}."
)
# No option helps: whoever names an address names its scheme.
_NO_TLS = "It is where {registry} sends us, by https: whoever runs {registry} can correct that."
_REACH = (
    "It is where {registry} sends us: check that {host} is up and reachable from here, too, then "
    "run it again."
)


@dataclass(frozen=True, slots=True)
class _Own:
    """What the folders hold for one host: files of CAs, and pairs of certificate and key."""

    authorities: tuple[Path, ...] = ()
    pairs: tuple[tuple[Path, Path], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.authorities or self.pairs)


def certificate_folders(environ: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Where certificates for single hosts are looked for: the user's own first, then docker's."""
    home = user_home(environ)
    return (home / _USER, *_SYSTEM) if home else _SYSTEM


def context_for(
    place: Registry,
    access: Access,
    folders: Sequence[Path] | None = None,
    *,
    named_by: Registry | None = None,
) -> ssl.SSLContext | None:
    """How TLS is spoken with `place`; None where it has nothing of its own. Blocks.

    Trusted are the system's CAs, those of `--ca-file` and the host's own ones; a host in
    `access.insecure` is believed without any, and still gets our certificate. `folders` are in
    place of `certificate_folders()`. `named_by`: the registry that sends us to `place`; its CAs
    are trusted there, too, as docker does. Raises TlsError, with the registry alone, for files that
    cannot be used.
    """
    if place.host in access.plain_http:
        return None
    insecure = place.host in access.insecure
    try:
        folders = certificate_folders() if folders is None else folders
        own = _own(place, folders)
        if named_by and named_by != place:
            own = _Own(own.authorities + _own(named_by, folders).authorities, own.pairs)
        if not own and not insecure:
            return None
        context = _unverifying() if insecure else _trusting(access, own)
        # OpenSSL keeps one certificate for each kind of key, the last one: so the first is last.
        for certificate, key in reversed(own.pairs):
            _show(context, certificate, key)
    except ConfigurationError as error:
        raise TlsError(str(error), Where((named_by or place).host)) from error
    return context


class Elsewhere:
    """How TLS is spoken with the hosts to which `registry` sends us, for tokens and for blobs."""

    def __init__(self, registry: Registry, access: Access) -> None:
        self._registry, self._access = registry, access
        self._contexts: dict[str, ssl.SSLContext | None] = {}

    @asynccontextmanager
    async def context(self, url: URL) -> AsyncIterator[ssl.SSLContext | None]:
        """The context for the host of `url`; None where it has nothing of its own.

        What fails within the block advises about that host, and not about the registry.
        """
        host, registry = url.host_port_subcomponent or "", self._registry.host
        try:
            yield await self._context(host) if url.scheme == "https" else None
        except (TlsError, RegistryUnavailable) as error:
            if host != registry and (advice := _advice(error)):
                error.advising(advice.format(host=host, registry=registry))
            raise

    async def _context(self, host: str) -> ssl.SSLContext | None:
        if host not in self._contexts:
            try:
                place = Registry.parse(host)
            except ValueError:  # a name with a `_`, say: nobody can have named it
                return None
            if len(self._contexts) >= _HOSTS_MAX:
                self._contexts.clear()
            look = partial(context_for, place, self._access, named_by=self._registry)
            self._contexts[host] = await to_thread.run_sync(look)
        return self._contexts[host]


def _advice(error: CopyError) -> str:
    """What helps where a registry sends us and nobody answers whom we trust."""
    if isinstance(error, TlsError):
        return _NO_TLS if speaks_no_tls(error.__cause__) else _TRUST
    return "" if error.advised else _REACH  # of a proxy, say


def _own(place: Registry, folders: Sequence[Path]) -> _Own:
    authorities: list[Path] = []
    pairs: list[tuple[Path, Path]] = []
    for folder in folders:
        files = list(_listed(folder / place.host))
        authorities += (file for file in files if file.suffix == ".crt")
        pairs += _pairs({file for file in files if file.suffix in (".cert", ".key")})
    return _Own(tuple(authorities), tuple(pairs))


def _listed(folder: Path) -> Sequence[Path]:
    try:
        files = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # docker goes on as well
        return ()
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be read: {error.strerror}") from error
    if len(files) > _FILES_MAX:
        raise ConfigurationError(f"{folder} holds more than {_FILES_MAX} files")
    return files


def _pairs(files: set[Path]) -> Iterator[tuple[Path, Path]]:
    for file in sorted(files):
        other = file.with_suffix(".key" if file.suffix == ".cert" else ".cert")
        if other not in files:
            authority = f"; a CA is called {file.stem}.crt" if file.suffix == ".cert" else ""
            raise ConfigurationError(
                f"{shown(str(file))} has no {shown(other.name)} beside it, and is nothing without "
                f"it: add that, or take it away{authority}"
            )
        if file.suffix == ".cert":
            yield file, other


def _trusting(access: Access, own: _Own) -> ssl.SSLContext:
    common = [access.ca_file] if access.ca_file else []
    return trusting(*common, *own.authorities)


def _unverifying() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False  # first, or the next line is refused
    context.verify_mode = ssl.CERT_NONE
    return context


def _show(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Show this certificate to a server that asks for one."""
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except _Locked:
        what = f"{key} is locked by a password, and nobody is here to be asked for it"
        raise ConfigurationError(what) from None
    except ssl.SSLError:  # an OSError too
        what = f"{certificate} and {key.name} are no certificate and its key in PEM form"
        raise ConfigurationError(what) from None
    except OSError as error:  # which of the two, OpenSSL does not say
        what = f"{certificate} or {key.name} cannot be read: {error.strerror}"
        raise ConfigurationError(what) from error


class _Locked(Exception):
    """A key wants a password. OpenSSL would ask for it on the terminal, and wait."""


def _no_password() -> str:
    raise _Locked
