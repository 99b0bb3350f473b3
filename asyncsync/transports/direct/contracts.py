"""What the direct way needs of a source and of a target. Stores implement it, never retrying.

All of them raise CopyError whose `where` has the registry alone, and are called by many tasks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from asyncsync.model.manifest import Descriptor, RawManifest, Taken
from asyncsync.model.place import Place
from asyncsync.model.reference import Reference
from asyncsync.stores.content import Content
from asyncsync.transports.contracts import Begun, Manifests


class Reading(Protocol):
    """The bytes of a blob as they come, unchecked. Raises CopyError while they do."""

    @property
    def place(self) -> Place:
        """Who sends them: the registry that was asked, or a mirror of it."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def distrust(self) -> bool:
        """Ask whoever sends them for nothing more: they are wrong, or do not come.

        True: somebody else can be asked. False: there is nobody else, and nothing changes.
        """

    @property
    def goes_on(self) -> bool:
        """Whether more may come of another reading where this one ended too early.

        A connection breaks off, a file does not.
        """


class Lists(Protocol):
    """Knows what refers to a manifest: signatures, SBOMs, attestations."""

    async def referrers(self, ref: Reference) -> tuple[Descriptor, ...]:
        """What is listed there as referring to the digest of `ref`, unchecked; nothing: none."""


class Source(Manifests, Lists, Protocol):
    """Where images come from."""

    def blob(
        self, ref: Reference, start: int = 0, stop: int | None = None
    ) -> AbstractAsyncContextManager[Reading]:
        """The bytes of the blob from `start`, up to `stop` where given.

        Raises NotFound without such a blob.
        """

    def instead(self, ref: Reference) -> str:
        """What may be meant by the tag `ref`, which it does not have; in words, or empty."""


class Upload(Begun, Protocol):
    """A blob on its way into the target."""

    async def send(self, content: Content, start: int = 0) -> None:
        """Send `content` from `start`, which the target has said that it has; then it is there."""

    async def offset(self) -> int:
        """How many bytes the target has of it: where to go on; 0 where it cannot say."""


class Target(Manifests, Lists, Protocol):
    """Where images go."""

    async def look(self, ref: Reference) -> Descriptor | None:
        """What `ref` names there now, or None if it names nothing. Costs a HEAD."""

    async def begin(self, ref: Reference, origin: str | None = None) -> Upload | None:
        """Begin to upload the blob `ref`; None if the target has it, or takes it from `origin`.

        `origin` is a repository of the same registry.
        """

    async def begin_anew(self, ref: Reference) -> Upload:
        """Begin to upload the blob `ref`, whatever the target says that it has."""

    async def put(self, ref: Reference, manifest: RawManifest) -> Taken:
        """Put `manifest` under the tag or digest of `ref`; the target's own word for it.

        Raises BlobsUnknown where it lacks what the manifest names, TypeRefused where it takes
        no manifest of this type.
        """

    def mounts_after_manifest(self, place: Place) -> bool:
        """Whether it gives from one repository to another only what a manifest there names."""

    def lists_by_tag(self, place: Place) -> bool:
        """Whether a list of referrers can stand there under a tag, as `sha256-<hex>`."""
