"""A layout as a source and as a target of copies.

It does in threads what `folder`, `archive` and `archiving` do, with errors as a user can act on
them.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from anyio import CapacityLimiter, to_thread

from asyncsync.model.digest import Digest, referrers_tag
from asyncsync.model.errors import BlobsUnknown, NotFound, UnsupportedManifest, Where
from asyncsync.model.manifest import (
    MANIFEST_BYTES_MAX,
    Descriptor,
    Index,
    RawManifest,
    Taken,
    parse_manifest,
    told_type,
)
from asyncsync.model.place import Layout, Place
from asyncsync.model.reference import Reference
from asyncsync.stores.layout.archive import LayoutTar
from asyncsync.stores.layout.archiving import LayoutTarWriter
from asyncsync.stores.layout.extent import Extent
from asyncsync.stores.layout.folder import LayoutFolder
from asyncsync.stores.layout.index import BrokenLayout, Entry
from asyncsync.stores.layout.mishaps import asking
from asyncsync.stores.layout.moving import LayoutUpload, Pen, Reading, Writer, chunks
from asyncsync.stores.layout.naming import Names
from asyncsync.stores.layout.referring import Subjects, by_subject
from asyncsync.stores.layout.wholeness import is_whole
from asyncsync.stores.layout.writing import WrongDigest

T = TypeVar("T")

THREADS = 16  # more only wait for the same disk
_NAMES_TOLD = 3
_LIST_TAG = re.compile(r"sha(256|512)-[0-9a-f]{64}")  # as `referrers_tag` makes it


class Shelf(Protocol):
    """What holds the bytes: a folder, or a tar. It blocks; many threads use it at once."""

    def opened(self, digest: Digest) -> AbstractContextManager[Extent | None]: ...
    def size(self, digest: Digest) -> int | None: ...
    def read(self, digest: Digest, most: int = MANIFEST_BYTES_MAX) -> bytes | None: ...
    def entry(self, name: str) -> Entry | None: ...


class LayoutStore:
    """Reads and writes images of one layout. Many tasks call it at once."""

    def __init__(
        self, layout: Layout, shelf: Shelf, pen: Pen | None = None, entries: Iterable[Entry] = ()
    ) -> None:
        self._layout, self._shelf, self._pen = layout, shelf, pen
        # What only is read is read once: of ten thousand images, each would read of all of them.
        # Of two of one name the first counts.
        self._entries = tuple(entries)
        self._known = {entry.name: entry for entry in reversed(self._entries)}
        self._known |= {entry.whole_name: entry for entry in reversed(self._entries)}
        self._names: Names | None = None
        self._subjects: Subjects | None = None
        self._threads = CapacityLimiter(THREADS)

    async def resolve(self, ref: Reference) -> Descriptor | None:
        """What `ref` names now, or None if it names nothing. Raises CopyError."""
        return await self._run(lambda: self._named(ref))

    def instead(self, ref: Reference) -> str:
        """What may be meant by the tag `ref`, which the source does not have; in words."""
        if self._names is None:
            names = (each.whole_name for each in self._entries)
            self._names = Names(dict.fromkeys(filter(None, names)))
        return self._names.instead(ref)

    async def look(self, ref: Reference) -> Descriptor | None:
        """What the target `ref` names now, if all of it is there in full length.

        So an image of which something was lost is copied again. But a list of what refers to an
        image is there by itself: what it names may be deleted, and the others stay in the list.
        """

        def looked() -> Descriptor | None:
            found = self._there(ref)
            if found is None or (ref.tag and _LIST_TAG.fullmatch(ref.tag)):
                return found
            return found if is_whole(found, self._shelf.size, self._shelf.read) else None

        return await self._run(looked)

    async def manifest(self, ref: Reference) -> RawManifest:
        """The exact bytes that `ref` names, at most 4 MiB, their digest checked."""

        def read() -> RawManifest:
            found = self._named(ref)
            if found is None:  # what is asked for by its digest, something else has named
                raise self._lacking(ref) if ref.digest else self._missing(ref)
            data = self._content(ref, found.digest, "manifest")
            return RawManifest(found.media_type, data, found.digest)

        return await self._run(read)

    async def config(self, ref: Reference) -> bytes:
        """The config of an image by its digest, at most 4 MiB, its digest checked."""
        assert ref.digest is not None  # noqa: S101  a config has no tag
        digest = ref.digest
        return await self._run(lambda: self._content(ref, digest, "config"))

    @asynccontextmanager
    async def blob(
        self, ref: Reference, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[Reading]:
        """The bytes of a blob from `start`, up to `stop` where given, unchecked."""
        assert ref.digest is not None  # noqa: S101  a blob has no tag
        opening = self._shelf.opened(ref.digest)
        extent = await self._run(opening.__enter__)
        try:
            if extent is None:
                raise self._lacking(ref)
            yield Reading(ref.place, chunks(self._run, extent, start, stop))
        finally:
            opening.__exit__(None, None, None)

    async def begin(self, ref: Reference, origin: str | None = None) -> LayoutUpload | None:  # noqa: ARG002
        """Begin to write the blob `ref`; None if it is there: all names share what is there."""
        assert ref.digest is not None  # noqa: S101  a blob has no tag
        digest = ref.digest
        there = await self._run(lambda: self._shelf.size(digest))
        return await self.begin_anew(ref) if there is None else None

    async def begin_anew(self, ref: Reference) -> LayoutUpload:  # noqa: ARG002
        """Begin to write the blob `ref`, whatever is there."""
        return LayoutUpload(self._run, self._writable)

    async def put(self, ref: Reference, manifest: RawManifest) -> Taken:
        """Put `manifest` under the tag or digest of `ref`, with all that it names on the disk.

        Raises BlobsUnknown where that is not there, or not in full length.
        """

        def put() -> None:
            if lacks := self._lacks(manifest):
                what = f"{ref.place} does not have {', '.join(map(str, lacks[:_NAMES_TOLD]))}"
                raise BlobsUnknown(what, self._where).naming(lacks)
            pen, size = self._writable, len(manifest.data)
            if self._shelf.size(manifest.digest) != size or not self._holds(manifest):
                writer = pen.begin(manifest.digest, size)
                try:
                    writer.write(manifest.data)
                    writer.commit(manifest.digest)
                finally:
                    writer.close()
            if ref.tag:
                named = Descriptor(manifest.media_type, manifest.digest, size)
                pen.put_entry(Entry(named, f"{ref.repository}:{ref.tag}"))

        await self._run(put)
        return Taken(manifest.digest)

    async def referrers(self, ref: Reference) -> tuple[Descriptor, ...]:
        """What is listed as referring to the digest of `ref`, unchecked.

        A layout lists nothing by itself: clients keep the list, at the same tag as in a registry
        that keeps none (OCI distribution-spec, “Referrers Tag Schema”). In a layout that is read,
        whatever its index names is looked at, too: some tools and registries leave it at that.
        """
        assert ref.digest is not None  # noqa: S101  nothing refers to a tag
        at, subject = ref.by_tag(referrers_tag(ref.digest)), ref.digest
        listed: tuple[Descriptor, ...] = ()
        if await self.look(at) is not None:
            try:
                parsed = parse_manifest(await self.manifest(at))
            except ValueError as error:
                what = f"the list of what refers to {ref} cannot be read: {error}"
                raise UnsupportedManifest(what, self._where) from error
            listed = parsed.manifests if isinstance(parsed, Index) else ()
        if self._subjects is None:
            self._subjects = await self._run(lambda: by_subject(self._entries, self._shelf.read))
        within = f"{ref.repository}:"
        found = (
            named
            for name, named in self._subjects.get(subject, ())
            if name is None or name.startswith(within)
        )
        return tuple({named.digest: named for named in (*found, *listed)}.values())

    def lists_by_tag(self, place: Place) -> bool:  # noqa: ARG002
        """Whether a list of referrers can stand there under a tag."""
        return True

    def mounts_after_manifest(self, place: Place) -> bool:  # noqa: ARG002
        """Whether it gives from one repository to another only what a manifest there names."""
        return False

    async def finish(self) -> None:
        """See that what was put is in the layout itself, where it is a tar. Raises CopyError."""
        if self._pen:
            await self._run(self._pen.finish)

    async def _run(self, call: Callable[[], T]) -> T:
        """Do what blocks in a thread. It is never left alone there: what it holds is ours."""
        with asking(self._layout):
            return await to_thread.run_sync(call, limiter=self._threads)

    @property
    def _where(self) -> Where:
        return Where(str(self._layout))

    @property
    def _writable(self) -> Pen:
        assert self._pen is not None  # noqa: S101  a source is not written to
        return self._pen

    def _named(self, ref: Reference) -> Descriptor | None:
        if ref.digest is None:
            name = f"{ref.repository}:{ref.tag}"
            entry = self._shelf.entry(name) if self._pen else self._read_as(name)
            return entry.descriptor if entry else None
        data = self._shelf.read(ref.digest)  # a manifest within an index has no entry of its own
        return Descriptor(told_type(data), ref.digest, len(data)) if data is not None else None

    def _read_as(self, name: str) -> Entry | None:
        """The entry of that name; others write one without a tag, which a list means by latest."""
        plain = name.removesuffix(":latest")
        return self._known.get(name) or self._known.get(plain)

    def _there(self, ref: Reference) -> Descriptor | None:
        """What `ref` names, if that itself is there in full length."""
        try:
            found = self._named(ref)
        except (WrongDigest, BrokenLayout):
            if ref.digest is None:  # the index is damaged
                raise
            return None  # it is not what it is called, and written anew
        return found if found and self._shelf.size(found.digest) == found.size else None

    def _content(self, ref: Reference, digest: Digest, kind: str) -> bytes:
        if (self._shelf.size(digest) or 0) > MANIFEST_BYTES_MAX:
            what = f"the {kind} of {ref} is larger than {MANIFEST_BYTES_MAX >> 20} MiB"
            raise UnsupportedManifest(what, self._where)
        data = self._shelf.read(digest)
        if data is None:
            raise self._lacking(ref.by_digest(digest))
        return data

    def _lacks(self, manifest: RawManifest) -> tuple[Digest, ...]:
        try:
            named = parse_manifest(manifest).parts
        except ValueError:
            return ()  # whoever has walked it has seen that
        return tuple(part.digest for part in named if self._shelf.size(part.digest) != part.size)

    def _holds(self, manifest: RawManifest) -> bool:
        try:
            return self._shelf.read(manifest.digest) == manifest.data
        except (WrongDigest, BrokenLayout):
            return False

    def _missing(self, ref: Reference) -> NotFound:
        return NotFound(f"{self._layout} has no {ref.entry}", self._where)

    def _lacking(self, ref: Reference) -> NotFound:
        what = f"{self._layout} does not have {ref.digest}, which {ref.repository} is made of"
        return NotFound(what, self._where).advising(
            f"{self._layout} holds not all of the image: carry it over again, or export it afresh."
        )


@asynccontextmanager
async def opened(layout: Layout, *, create: bool = False) -> AsyncIterator[LayoutStore]:
    """The layout, to be read; with `create`, to be written as well, and made where there is none.

    Raises ConfigurationError that says what to do.
    """
    store, close = await to_thread.run_sync(partial(_opened, layout, create=create))
    try:
        yield store
    finally:
        close()


def _opened(layout: Layout, *, create: bool) -> tuple[LayoutStore, Callable[[], None]]:
    path = Path(layout.path)
    if not layout.is_tar:
        folder = LayoutFolder.open(path, create=create)

        def begin(digest: Digest, _size: int) -> Writer:
            return folder.begin(digest.algorithm)

        if not create:
            return LayoutStore(layout, folder, entries=folder.entries()), lambda: None
        pen = Pen(begin, folder.put_entry, lambda: None)
        return LayoutStore(layout, folder, pen), lambda: None
    if not create:
        archive = LayoutTar.open(path)
        return LayoutStore(layout, archive, entries=archive.entries()), archive.close
    tar = LayoutTarWriter.open(path)
    pen = Pen(tar.begin, tar.put_entry, tar.finish)
    return LayoutStore(layout, tar, pen), tar.close
