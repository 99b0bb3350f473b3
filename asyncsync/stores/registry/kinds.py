"""Which kind of manifest an answer holds, and whether it is the one that was asked. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from asyncsync.model.digest import Digest
from asyncsync.model.errors import DigestMismatch, RegistryUnavailable, UnsupportedManifest, Where
from asyncsync.model.foreign import shown
from asyncsync.model.manifest import (
    ACCEPTED_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    RawManifest,
)
from asyncsync.model.reference import Reference

_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1"  # also with +json, +prettyjws
_OTHER_TYPE = re.compile(r"application/vnd\.[a-z0-9.+-]{1,120}\+json")


def media_type(header: str | None) -> str:
    """A Content-Type without its parameters, in lower case; empty if there is none."""
    return (header or "").partition(";")[0].strip().lower()


def descriptor_of(headers: Mapping[str, str], ref: Reference) -> Descriptor | None:
    """What a HEAD's headers tell about `ref`; None if they leave something out.

    Then a GET tells it: some registries send no digest, and a login page is no manifest.
    Raises DigestMismatch, UnsupportedManifest.
    """
    kind = media_type(headers.get("Content-Type"))
    _refuse_schema_1(kind, ref)
    digest = digest_told(headers)
    length = headers.get("Content-Length", "")
    if kind not in ACCEPTED_TYPES or digest is None or not re.fullmatch(r"[0-9]{1,18}", length):
        return None
    if ref.digest and ref.digest.algorithm != digest.algorithm:
        return None
    if ref.digest:
        _same(digest, ref.digest, ref)
    return Descriptor(kind, digest, int(length))


def manifest_of(headers: Mapping[str, str], data: bytes, ref: Reference) -> RawManifest:
    """The manifest in an answer, its digest checked against what was asked and what was told.

    Raises DigestMismatch, UnsupportedManifest, or RegistryUnavailable if it is no manifest.
    """
    told = digest_told(headers)
    wanted = ref.digest or told
    digest = Digest.of(data, wanted.algorithm if wanted else "sha256")
    kind = _kind(media_type(headers.get("Content-Type")), data, ref)
    if ref.digest:
        _same(digest, ref.digest, ref)
    if told:
        _same(Digest.of(data, told.algorithm), told, ref)
    return RawManifest(kind, data, digest)


def _kind(header: str, data: bytes, ref: Reference) -> str:
    """The type by header, else by its field, else by its shape; all that are there must agree."""
    _refuse_schema_1(header, ref)
    body = _json_object(data) or {}
    inner = body.get("mediaType")
    inner = inner if isinstance(inner, str) else ""
    shape = _shape(body, ref)
    if not body:  # a page, as a proxy shows it before a login
        kind = ""
    elif header in ACCEPTED_TYPES or (_OTHER_TYPE.fullmatch(header) and not inner):
        kind = header
    else:  # a general type, as application/json
        kind = inner or shape
    if inner and inner != kind:
        raise _unsupported(f"{ref} is of two types at once: one in its header, one in itself", ref)
    if not kind:
        sent = shown(header, limit=80) or "something"
        what = f"{ref.place} answered with {sent} that is no manifest"
        raise RegistryUnavailable(what, Where(str(ref.place)))
    if not _OTHER_TYPE.fullmatch(kind):
        raise _unsupported(f"{ref} is of the type {shown(kind, limit=80) or 'nothing'}", ref)
    return kind


def _shape(body: Mapping[str, Any], ref: Reference) -> str:
    if body.get("schemaVersion") == 1:
        _refuse_schema_1(_SCHEMA_1, ref)
    if "manifests" in body:
        return OCI_INDEX
    return OCI_MANIFEST if "layers" in body else ""


def _json_object(data: bytes) -> Mapping[str, Any] | None:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _refuse_schema_1(kind: str, ref: Reference) -> None:
    if kind.startswith(_SCHEMA_1):
        raise _unsupported(f"{ref} is in Docker's old format (schema 1)", ref)


def _unsupported(what: str, ref: Reference) -> UnsupportedManifest:
    return UnsupportedManifest(what, Where(str(ref.place)))


def digest_told(headers: Mapping[str, str], name: str = "Docker-Content-Digest") -> Digest | None:
    """The digest in an answer's header, if there is one and it can be read."""
    try:
        return Digest.parse(headers.get(name, ""))
    except ValueError:  # missing, or of another form: then we hash
        return None


def _same(is_now: Digest, expected: Digest, ref: Reference) -> None:
    if is_now != expected:
        raise DigestMismatch(
            f"{ref.place} sent {is_now} for {ref.name}, not {expected}", Where(str(ref.place))
        )
