"""Where a request goes: the path of its URL as a value (OCI distribution-spec, “API”). Pure.

Names, digests and ids match their grammar before anything else sees them, so that no path on a
disk is ever made of what a client wrote.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from asyncsync.model.digest import Digest
from asyncsync.model.foreign import quoted
from asyncsync.model.reference import Reference
from asyncsync.server.errors import Code, Refused, digest_invalid, upload_unknown

_UPLOAD_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Base:
    """`/v2/`: whether this is a registry."""


@dataclass(frozen=True, slots=True)
class Repositories:
    """`/v2/_catalog`: which repositories there are (docker's registry API, “Catalog”)."""


@dataclass(frozen=True, slots=True)
class Blob:
    """`/v2/<name>/blobs/<digest>`."""

    repository: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class Uploads:
    """`/v2/<name>/blobs/uploads/`: where uploads begin."""

    repository: str


@dataclass(frozen=True, slots=True)
class Upload:
    """`/v2/<name>/blobs/uploads/<id>`: one that has begun."""

    repository: str
    id: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """`/v2/<name>/manifests/<tag or digest>`."""

    repository: str
    reference: str | Digest


@dataclass(frozen=True, slots=True)
class Tags:
    """`/v2/<name>/tags/list`."""

    repository: str


@dataclass(frozen=True, slots=True)
class Referrers:
    """`/v2/<name>/referrers/<digest>`."""

    repository: str
    digest: Digest


Place: TypeAlias = Base | Repositories | Blob | Uploads | Upload | Manifest | Tags | Referrers


def place(path: str) -> Place:
    """Read the path of a URL, decoded. Raises Refused if it is nowhere.

    From its end: a repository may well be called `tags` or `blobs/uploads`.
    """
    if path in ("/v2", "/v2/"):
        return Base()
    if path == "/v2/_catalog":  # no repository's name begins with `_`
        return Repositories()
    match path.split("/"):
        case ["", "v2", *name, "tags", "list"]:
            return Tags(_repository(name))
        case ["", "v2", *name, "blobs", "uploads", ""] | ["", "v2", *name, "blobs", "uploads"]:
            return Uploads(_repository(name))
        case ["", "v2", *name, "blobs", "uploads", id_]:
            repository = _repository(name)
            if _UPLOAD_ID.fullmatch(id_) is None:
                raise upload_unknown()
            return Upload(repository, id_)
        case ["", "v2", *name, "blobs", text]:
            return Blob(_repository(name), digest(text))
        case ["", "v2", *name, "referrers", text]:
            return Referrers(_repository(name), digest(text))
        case ["", "v2", *name, "manifests", text]:
            repository = _repository(name)
            return Manifest(repository, digest(text) if ":" in text else _tag(text))
    raise Refused(404, Code.UNSUPPORTED, f"there is nothing at {quoted(path)}")


def digest(text: str) -> Digest:
    """Read a digest. Raises Refused."""
    try:
        return Digest.parse(text)
    except ValueError as error:
        raise digest_invalid(error) from None


@lru_cache(maxsize=100_000)  # the same ones are read again whenever an index has changed
def named(name: str) -> tuple[str, str] | None:
    """Repository and tag of a name in a layout, or None: others write there what they like."""
    repository, _, tag = name.rpartition(":")
    return (repository, tag) if _is_name(repository, tag) else None


def _repository(components: list[str]) -> str:
    repository = "/".join(components)
    if not _is_name(repository, "tag"):
        raise Refused(400, Code.NAME_INVALID, f"{quoted(repository)} is no name of a repository")
    return repository


def _tag(text: str) -> str:
    if not _is_name("name", text):  # there can be none: what a HEAD of it expects to be told
        raise Refused(404, Code.MANIFEST_UNKNOWN, f"{quoted(text)} is no tag")
    return text


def _is_name(repository: str, tag: str) -> bool:
    """Whether it is one, by the grammar of references, which is told in one place alone."""
    try:
        ref = Reference.parse(f"localhost/{repository}:{tag}")
    except ValueError:
        return False
    return (ref.repository, ref.tag, ref.digest) == (repository, tag, None)
