"""What the index of a layout names that refers to something else in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from asyncsync.model.digest import Digest
from asyncsync.model.manifest import Descriptor, RawManifest, parse_manifest
from asyncsync.stores.layout.index import Entry

# By what they refer to: what each is called, if it is, and what it is.
Subjects: TypeAlias = Mapping[Digest, Sequence[tuple[str | None, Descriptor]]]


def by_subject(entries: Iterable[Entry], read: Callable[[Digest], bytes | None]) -> Subjects:
    """Look into every manifest that `entries` name. Raises OSError."""
    found: dict[Digest, list[tuple[str | None, Descriptor]]] = {}
    for entry in entries:
        named = entry.descriptor
        try:
            data = read(named.digest) or b""
            parsed = parse_manifest(RawManifest(named.media_type, data, named.digest))
        except ValueError:  # damaged, or no manifest: whoever wants it hears of it
            continue
        if parsed.subject:
            about = found.setdefault(parsed.subject.digest, [])
            about.append((entry.whole_name, replace(named, artifact_type=parsed.listed_type)))
    return found
