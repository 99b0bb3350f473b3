"""A layout as a registry sees it: repositories with tags, manifests, and who refers to whom.

It blocks, as the layout does: callers hop to threads.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from asyncsync.model.digest import Digest
from asyncsync.model.manifest import (
    ACCEPTED_TYPES,
    MANIFEST_BYTES_MAX,
    Descriptor,
    ImageManifest,
    Index,
    RawManifest,
    listed,
    parse_manifest,
    told_type,
)
from asyncsync.server.paths import named
from asyncsync.stores.layout.folder import LayoutFolder, patiently
from asyncsync.stores.layout.index import INDEX_NAME, BrokenLayout, Entry
from asyncsync.stores.layout.writing import WrongDigest

_REMEMBERED_MAX = 50_000  # manifests, of which so little is kept that this is some megabytes


@dataclass(frozen=True, slots=True)
class _View:
    """What the index said when it looked like `seen`."""

    seen: tuple[int, ...]
    tags: Mapping[str, Mapping[str, Descriptor]] = field(default_factory=dict)
    by_digest: Mapping[Digest, Descriptor] = field(default_factory=dict)
    nameless: Mapping[Digest, Descriptor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Kin:
    """What a manifest says of others; content never changes, so neither does this."""

    subject: Digest | None
    children: tuple[Descriptor, ...]


class Catalog:
    """What a layout holds. Safe for threads; what other processes change is seen, too."""

    def __init__(self, folder: LayoutFolder) -> None:
        self._folder = folder
        self._view: _View | None = None
        self._kin: OrderedDict[Digest, _Kin | None] = OrderedDict()
        self._lock = Lock()

    def find(self, repository: str, reference: str | Digest) -> Descriptor | None:
        """The manifest of a tag; or of a digest, which any repository has if the layout has it.

        Its children have no entry of their own in a layout: those are told by what is in them.
        """
        view = self._now()
        if isinstance(reference, str):
            return view.tags.get(repository, {}).get(reference)
        if known := view.by_digest.get(reference):
            return known
        size = self._folder.size(reference)
        if size is None or size > MANIFEST_BYTES_MAX:
            return None
        raw = self.read(Descriptor("", reference, size))
        return Descriptor(raw.media_type, raw.digest, len(raw.data)) if raw else None

    def read(self, named: Descriptor) -> RawManifest | None:
        """A manifest's bytes; None if they are not there, damaged, or no manifest.

        Damaged ones count as missing: then whoever has the image puts it again.
        """
        try:
            data = self._folder.read(named.digest)
        except (WrongDigest, BrokenLayout):
            return None
        if data is None:
            return None
        media_type = named.media_type or told_type(data)
        raw = RawManifest(media_type, data, named.digest)
        if not named.media_type and _parsed(raw) is None:
            return None
        return raw

    def repositories(self) -> list[str]:
        """All that have a tag, in order (by code point)."""
        return sorted(self._now().tags)

    def tags(self, repository: str) -> list[str] | None:
        """All its tags in order (by code point), or None if there is no such repository."""
        tags = self._now().tags.get(repository)
        return None if tags is None else sorted(tags)

    def lists(self, digest: Digest) -> bool:
        """Whether the index names it."""
        return digest in self._now().by_digest

    def names(self) -> Iterator[str]:
        """All that can be asked for by name, as `repository:tag`."""
        for repository, tags in self._now().tags.items():
            yield from (f"{repository}:{tag}" for tag in tags)

    def referrers(self, repository: str, subject: Digest) -> Iterator[dict[str, Any]]:
        """What refers to `subject`, as descriptors (OCI distribution-spec, “Listing Referrers”).

        What the repository names, and what nobody names: most referrers have no name.
        """
        view = self._now()
        ours = (*view.tags.get(repository, {}).values(), *view.nameless.values())
        for manifest in sorted(self._reached(ours), key=lambda each: str(each.digest)):
            kin = self._kin_of(manifest)
            if kin is None or kin.subject != subject:
                continue
            raw = self.read(manifest)
            parsed = raw and _parsed(raw)
            if raw and parsed:
                yield listed(raw, parsed)

    def needed_by(self, digest: Digest) -> Digest | None:
        """A manifest that cannot be without `digest`, if there is one."""
        for manifest in self._reached(self._now().by_digest.values()):
            raw = self.read(manifest)
            parsed = raw and _parsed(raw)
            if parsed and any(part.digest == digest for part in parsed.parts):
                return manifest.digest
        return None

    def lacks(self, parsed: Index | ImageManifest) -> list[Digest]:
        """What a manifest needs and the layout does not have, or has damaged: that is removed.

        Else nobody would send it again, since it is told to be there. Only what has another length
        than the manifest says is read for that. Its subject may come later.
        """
        needed = {part.digest: part for part in parsed.parts}.values()
        return [part.digest for part in needed if not self._has(part)]

    def put(self, raw: RawManifest, parsed: Index | ImageManifest, name: str | None) -> None:
        """Keep a manifest, under a name or by its digest alone. It is on the disk then."""
        try:
            there = self._folder.read(raw.digest) is not None
        except (WrongDigest, BrokenLayout):
            there = False
        if not there:
            with self._folder.writing(raw.digest.algorithm) as writer:
                writer.write(raw.data)
                writer.commit(raw.digest)
        before = self._now()
        if name is None and raw.digest in before.nameless:
            return
        artifact = parsed.artifact_type if isinstance(parsed, ImageManifest) else None
        descriptor = Descriptor(raw.media_type, raw.digest, len(raw.data), artifact_type=artifact)
        self._folder.put_entry(Entry(descriptor, name))
        # What came before by its digest alone is found by this name, or by this index, from now on.
        found = {child.digest for child in parsed.manifests} if isinstance(parsed, Index) else set()
        if found := (found - {raw.digest}) | ({raw.digest} if name else set()):
            self._drop_nameless(found & before.nameless.keys(), before)
        self._forget()

    def drop_tag(self, repository: str, tag: str) -> bool:
        """Take a name away; the image can still be asked for by its digest."""
        name = f"{repository}:{tag}"
        return self._dropped(self._folder.drop_entries(lambda entry: entry.name == name))

    def drop_digest(self, repository: str, digest: Digest) -> None:
        """Take a manifest away, and with it the repository's tags of it.

        Where another repository names it, it stays, and can be asked for by its digest.
        """

        def gone(entry: Entry) -> bool:
            name = named(entry.name) if entry.name else None
            ours = name[0] == repository if name else entry.name is None
            return ours and entry.descriptor.digest == digest

        self._dropped(self._folder.drop_entries(gone))
        if not any(entry.descriptor.digest == digest for entry in self._folder.entries()):
            self.drop_blob(digest)

    def drop_blob(self, digest: Digest) -> bool:
        """Remove a file; whether it was there."""
        path = self._folder.blob(digest)
        if path is None:
            return False
        path.unlink(missing_ok=True)
        return True

    def _has(self, part: Descriptor) -> bool:
        path, size = self._folder.blob(part.digest), self._folder.size(part.digest)
        if path is None or size in (None, part.size):
            return size is not None
        with path.open("rb") as file:
            found = hashlib.file_digest(file, part.digest.algorithm).hexdigest()
            if found == part.digest.hex:  # the manifest errs, and so do those of others
                return True
            with suppress(FileNotFoundError):
                # Unless a right one has taken its place meanwhile.
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    path.unlink()
        return False

    def _drop_nameless(self, digests: set[Digest], view: _View) -> None:
        """Let go of those, but of no referrer: no other repository would find it any more."""
        known = {digest: self._kin_of(view.nameless[digest]) for digest in digests}
        gone = {digest for digest, kin in known.items() if kin and kin.subject is None}
        if gone:
            self._folder.drop_entries(
                lambda entry: entry.name is None and entry.descriptor.digest in gone
            )

    def _dropped(self, count: int) -> bool:
        self._forget()
        return count > 0

    def _forget(self) -> None:
        with self._lock:
            self._view = None

    def _now(self) -> _View:
        found = patiently((self._folder.path / INDEX_NAME).stat)
        seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        with self._lock:
            view = self._view
        if view is None or view.seen != seen:
            view = _view(seen, self._folder.entries())
            with self._lock:
                self._view = view
        return view

    def _reached(self, entries: Iterable[Descriptor]) -> Iterator[Descriptor]:
        """Every manifest that these lead to, once."""
        waiting = deque(entries)
        seen: set[Digest] = set()
        while waiting:
            manifest = waiting.popleft()
            if manifest.digest in seen:
                continue
            seen.add(manifest.digest)
            if kin := self._kin_of(manifest):
                yield manifest
                waiting.extend(kin.children)

    def _kin_of(self, manifest: Descriptor) -> _Kin | None:
        with self._lock:
            if manifest.digest in self._kin:
                self._kin.move_to_end(manifest.digest)
                return self._kin[manifest.digest]
        raw = self.read(manifest)
        if raw is None:
            return None  # it may come yet
        parsed = _parsed(raw)
        kin = _kin(parsed) if parsed else None
        with self._lock:
            self._kin[manifest.digest] = kin
            while len(self._kin) > _REMEMBERED_MAX:
                self._kin.popitem(last=False)
        return kin


def _view(seen: tuple[int, ...], entries: tuple[Entry, ...]) -> _View:
    tags: dict[str, dict[str, Descriptor]] = {}
    held = [entry for entry in entries if entry.descriptor.media_type in ACCEPTED_TYPES]
    for entry in held:
        if entry.name and (name := named(entry.name)):
            # Of two of one name the first counts, as for who reads the folder itself.
            tags.setdefault(name[0], {}).setdefault(name[1], entry.descriptor)
    found = {entry.descriptor.digest: entry.descriptor for entry in held}
    nameless = {entry.descriptor.digest: entry.descriptor for entry in held if not entry.name}
    return _View(seen, tags, found, nameless)


def _bare(descriptor: Descriptor) -> Descriptor:
    return Descriptor(descriptor.media_type, descriptor.digest, descriptor.size)


def _parsed(raw: RawManifest) -> Index | ImageManifest | None:
    try:
        return parse_manifest(raw)
    except ValueError:
        return None


def _kin(parsed: Index | ImageManifest) -> _Kin:
    children = tuple(map(_bare, parsed.manifests)) if isinstance(parsed, Index) else ()
    return _Kin(parsed.subject.digest if parsed.subject else None, children)
