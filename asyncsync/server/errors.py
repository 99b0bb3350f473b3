"""What went wrong, as the document that is told (OCI distribution-spec, “Error Codes”)."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable, Mapping
from enum import StrEnum

from asyncsync.model.digest import Digest
from asyncsync.model.foreign import shown

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Code(StrEnum):
    """The codes of the specification, and docker's `UNKNOWN` for what is nobody's fault."""

    BLOB_UNKNOWN = "BLOB_UNKNOWN"
    BLOB_UPLOAD_INVALID = "BLOB_UPLOAD_INVALID"
    BLOB_UPLOAD_UNKNOWN = "BLOB_UPLOAD_UNKNOWN"
    DIGEST_INVALID = "DIGEST_INVALID"
    MANIFEST_BLOB_UNKNOWN = "MANIFEST_BLOB_UNKNOWN"
    MANIFEST_INVALID = "MANIFEST_INVALID"
    MANIFEST_UNKNOWN = "MANIFEST_UNKNOWN"
    NAME_INVALID = "NAME_INVALID"
    NAME_UNKNOWN = "NAME_UNKNOWN"
    SIZE_INVALID = "SIZE_INVALID"
    UNAUTHORIZED = "UNAUTHORIZED"
    DENIED = "DENIED"
    UNSUPPORTED = "UNSUPPORTED"
    TOOMANYREQUESTS = "TOOMANYREQUESTS"
    PAGINATION_NUMBER_INVALID = "PAGINATION_NUMBER_INVALID"  # distribution's
    UNKNOWN = "UNKNOWN"


class Refused(Exception):
    """A request is answered with an error. `details`: one error each, or one without any.

    `closes`: the rest of the request is not read.
    """

    def __init__(
        self,
        status: int,
        code: Code,
        message: str,
        *,
        details: Iterable[str] = (),
        headers: Mapping[str, str] | None = None,
        closes: bool = False,
    ) -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message = status, code, message
        self.headers, self.closes = dict(headers or {}), closes
        self._details = tuple(details) or (None,)

    @property
    def document(self) -> bytes:
        """The body of the answer."""
        one = {"code": self.code, "message": shown(self.message)}
        errors = [one | ({} if detail is None else {"detail": detail}) for detail in self._details]
        return json.dumps({"errors": errors}).encode()


def digest_invalid(error: ValueError) -> Refused:
    """A digest is none, or not that of the bytes."""
    return Refused(400, Code.DIGEST_INVALID, str(error))


def manifest_invalid(why: str) -> Refused:
    """A manifest is none, or of a kind that is not taken."""
    return Refused(400, Code.MANIFEST_INVALID, why)


def manifest_unknown(repository: str, reference: object) -> Refused:
    """There is no such tag or digest."""
    return Refused(404, Code.MANIFEST_UNKNOWN, f"{repository} has no {reference}")


def blob_unknown(digest: Digest) -> Refused:
    """There is no such blob."""
    return Refused(404, Code.BLOB_UNKNOWN, f"there is no blob {digest}")


def upload_unknown() -> Refused:
    """There is no such upload: it has ended, it was given up, or the server was started again."""
    return Refused(404, Code.BLOB_UPLOAD_UNKNOWN, "there is no such upload; begin it again")


def too_large(what: str, most: int) -> Refused:
    """A body is larger than is taken. Its rest is not read."""
    return Refused(413, Code.SIZE_INVALID, f"{what} has more than {most} bytes", closes=True)


def of_the_disk(error: OSError) -> Refused:
    """The disk cannot take it, or not give it. What is told names no path."""
    why = shown(error.strerror or "it failed")
    if error.errno in _FULL:  # 507: the client knows that a retry is of no use
        return Refused(507, Code.DENIED, f"the registry's disk is full: {why}", closes=True)
    return Refused(500, Code.UNKNOWN, f"the registry's disk failed: {why}", closes=True)
