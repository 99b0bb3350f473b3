"""What a layout's two documents say: index.json, which manifests there are and what they are
called, and oci-layout, that it is one. Pure.

What others wrote into an index stays as they wrote it, also what we do not know. Whatever is no
index raises BrokenLayout, which says what is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NoReturn

from asyncsync.model.errors import ConfigurationError
from asyncsync.model.foreign import shown
from asyncsync.model.manifest import OCI_INDEX, Descriptor, parse_descriptor

MARK_NAME = "oci-layout"
MARK_BYTES_MAX = 64 * 1024
INDEX_NAME = "index.json"
INDEX_BYTES_MAX = 64 * 1024 * 1024  # some 200,000 images
EMPTY = b'{"schemaVersion":2,"mediaType":"%s","manifests":[]}' % OCI_INDEX.encode()
MARK = b'{"imageLayoutVersion":"1.0.0"}'
REF_NAME = "org.opencontainers.image.ref.name"  # OCI image-spec, “Pre-Defined Annotation Keys”
_WHOLE_NAME = "io.containerd.image.name"  # beside it, as containerd and BuildKit write
_NOTHING: Mapping[str, str] = MappingProxyType({})


class BrokenLayout(ValueError):
    """A file of the layout is not what a layout has there."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One manifest of a layout. `name` is its `org.opencontainers.image.ref.name`.

    `annotations`: the others; `descriptor` has none. Of that are written its type, digest, size,
    platform and artifact type.
    """

    descriptor: Descriptor
    name: str | None = None
    annotations: Mapping[str, str] = field(default_factory=lambda: _NOTHING, hash=False)

    @property
    def whole_name(self) -> str | None:
        """What it is called, also by `docker save`, which names a tag alone in the usual place."""
        return self.annotations.get(_WHOLE_NAME) or self.name


def check_mark(data: bytes | None, name: str) -> None:
    """Raise ConfigurationError unless `data`, an oci-layout, is that of a layout as we know them.

    BrokenLayout if it says nothing.
    """
    if data is None:
        what = f"{name} is no OCI layout: it has no {MARK_NAME}"
        raise ConfigurationError(f"{what}. Name what an export has written.")
    version = _version(data)
    if version is None:
        raise BrokenLayout(f"{MARK_NAME} does not say a version")
    if version != "1.0.0":
        what = f"its version is {shown(version, limit=50)}, and this program knows 1.0.0"
        raise ConfigurationError(f"{name} is an OCI layout of another kind: {what}.")


def _version(mark: bytes) -> str | None:
    try:
        match json.loads(mark):
            case {"imageLayoutVersion": str(version)}:
                return version
    except (ValueError, RecursionError):
        pass
    return None


@contextmanager
def _reading() -> Iterator[None]:
    """Say of what is wrong which file it is wrong with."""
    try:
        yield
    except ValueError as error:
        raise BrokenLayout(f"{INDEX_NAME}: {error}") from None


@_reading()
def parse(data: bytes) -> tuple[Entry, ...]:
    """The entries of an index.json, in its order."""
    return tuple(_entry(raw) for raw in _body(data)["manifests"])


@_reading()
def named(data: bytes, name: str) -> Entry | None:
    """The entry of that name, without reading the others."""
    wanted = _key(name, "")
    return next((_entry(raw) for raw in _body(data)["manifests"] if _key_of(raw) == wanted), None)


@_reading()
def merged(data: bytes, entries: Iterable[Entry]) -> bytes:
    """An index.json with `entries` in it.

    An entry takes the place of the one with its name; an unnamed one, of the unnamed one with its
    digest.
    """
    body = _body(data)
    new = {_key(entry.name, str(entry.descriptor.digest)): _raw(entry) for entry in entries}
    kept, placed = [], set()
    for raw in body["manifests"]:
        key = _key_of(raw)
        if key not in new:
            kept.append(raw)
        elif key not in placed:  # another writer may have left two of one name
            kept.append(new[key])
            placed.add(key)
    kept += [raw for key, raw in new.items() if key not in placed]
    return _written(body | {"manifests": kept})


@_reading()
def without(data: bytes, gone: Callable[[Entry], bool]) -> bytes:
    """An index.json without the entries that `gone` says."""
    body = _body(data)
    kept = [raw for raw in body["manifests"] if not gone(_entry(raw))]
    return _written(body | {"manifests": kept})


def _body(data: bytes) -> dict[str, Any]:
    if len(data) > INDEX_BYTES_MAX:
        raise ValueError(f"it is larger than {INDEX_BYTES_MAX >> 20} MiB")
    try:
        body = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is no JSON") from error
    match body:
        case {"schemaVersion": 2, "manifests": list() | None as manifests, **rest} if (
            rest.get("mediaType", OCI_INDEX) == OCI_INDEX
        ):
            return {**body, "manifests": manifests or []}  # null: umoci's, of no image
    raise ValueError("it is no OCI index of schema version 2")


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")  # Python reads and writes NaN, others do not


def _entry(raw: object) -> Entry:
    descriptor = parse_descriptor(raw)
    annotations = dict(descriptor.annotations)
    name = annotations.pop(REF_NAME, None) or None
    return Entry(replace(descriptor, annotations=_NOTHING), name, MappingProxyType(annotations))


def _key(name: str | None, digest: str) -> tuple[str, str]:
    return ("name", name) if name else ("digest", digest)


def _key_of(raw: object) -> tuple[str, str]:
    """The same of an entry as it stands, read only as far as that needs: there may be many."""
    match raw:
        case {"digest": str(digest), "annotations": {**annotations}}:
            name = annotations.get(REF_NAME)
            return _key(name if isinstance(name, str) else None, digest)
        case {"digest": str(digest)}:
            return _key(None, digest)
    raise ValueError("it has an entry that is no descriptor")


def _raw(entry: Entry) -> dict[str, Any]:
    named = entry.descriptor
    raw: dict[str, Any] = {
        "mediaType": named.media_type,
        "digest": str(named.digest),
        "size": named.size,
    }
    if named.artifact_type:
        raw["artifactType"] = named.artifact_type
    if named.platform:
        platform = named.platform
        raw["platform"] = {"os": platform.os, "architecture": platform.architecture}
        if platform.variant:
            raw["platform"]["variant"] = platform.variant
    annotations = dict(entry.annotations) | ({REF_NAME: entry.name} if entry.name else {})
    if annotations:
        raw["annotations"] = annotations
    return raw


def _written(body: dict[str, Any]) -> bytes:
    data = json.dumps(body, separators=(",", ":")).encode()
    if len(data) > INDEX_BYTES_MAX:
        raise ValueError(f"it would be larger than {INDEX_BYTES_MAX >> 20} MiB")
    return data
