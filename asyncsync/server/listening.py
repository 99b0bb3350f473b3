"""Where a server listens: an address of this machine, and the certificate that it shows there."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from asyncsync.model.errors import ConfigurationError
from asyncsync.model.foreign import quoted, shown

BACKLOG = 512  # connections that wait to be taken; Linux takes no more than somaxconn
_PORT_MAX = 65535
# The last two: a key of another kind, by newer and older versions of OpenSSL.
_NOT_ITS_KEY = ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED", "KEY_TYPE_MISMATCH")
_ADDRESS = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]{2,45})\]|(?P<four>[^:\[\]]{1,64})):(?P<port>[0-9]{1,5})"
)


@dataclass(frozen=True, slots=True)
class Address:
    """An address and a port of this machine, as `127.0.0.1:5000`; port 0 is one that is free."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `address:port`. Raises ValueError that says what to write instead."""
        match = _ADDRESS.fullmatch(text)
        host = (match["six"] or match["four"]) if match else ""
        try:
            if match is None or int(match["port"]) > _PORT_MAX:
                raise ValueError
            address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
            if (address.version == 6) != (match["six"] is not None):
                raise ValueError
        except ValueError:
            raise ValueError(
                f"{quoted(text)} is no address to listen at: write 127.0.0.1:5000, "
                "or 0.0.0.0:5000 for all of this machine"
            ) from None
        return cls(str(address), int(match["port"]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def is_any(self) -> bool:
        """Whether it stands for all addresses of this machine."""
        return ipaddress.ip_address(self.host).is_unspecified


def listen(address: Address) -> socket.socket:
    """A socket that listens there. Raises ConfigurationError that says why it cannot."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Else a server that is started again waits until its old connections are forgotten.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((address.host, address.port))
        opened.listen(BACKLOG)
        opened.settimeout(0)
    except OSError as error:
        opened.close()
        why = shown(error.strerror or str(error))
        raise ConfigurationError(
            f"--listen {address}: {why}. Name another address or port, as 127.0.0.1:5001."
        ) from None
    return opened


def certificate(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """What a server shows of itself; None where it speaks plain HTTP. Raises ConfigurationError."""
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise ConfigurationError("--tls-cert and --tls-key belong together. Name both files.")
    for option, path in (("--tls-cert", cert), ("--tls-key", key)):
        if not os.access(path, os.R_OK) or not path.is_file():
            what = "cannot be read" if path.exists() else "is not there"
            raise ConfigurationError(f"{option}: the file {shown(str(path))} {what}.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # A password is never asked for: nobody sits there to type it.
        context.load_cert_chain(cert, key, password=_no_password)
    except _Encrypted:
        raise ConfigurationError(
            f"--tls-key: {shown(str(key))} wants a password. Write it without: openssl pkey."
        ) from None
    except ssl.SSLError as error:
        if error.reason in _NOT_ITS_KEY:
            why = f"{shown(str(key))} is not the key of {shown(str(cert))}"
        elif error.library == "SSL" and error.reason:  # well read, and refused
            what = error.reason.replace("_", " ").lower()
            why = f"OpenSSL refuses {shown(str(cert))}: {what}"
        else:
            why = f"{shown(str(cert))} and {shown(str(key))} are no certificate and key in PEM"
        raise ConfigurationError(f"--tls-cert, --tls-key: {why}.") from None
    except OSError as error:
        why = shown(error.strerror or str(error))
        raise ConfigurationError(f"--tls-cert, --tls-key: {why}.") from None
    return context


class _Encrypted(Exception):
    pass


def _no_password() -> str:
    raise _Encrypted
