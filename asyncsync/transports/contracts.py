"""What a transport needs of the places where images live."""

from __future__ import annotations

from typing import Protocol

from asyncsync.model.manifest import Descriptor, RawManifest
from asyncsync.model.reference import Reference

# A note on an image of which the target had more, as by another way, or for other platforms.
ONE_FOR_AN_INDEX = "one platform takes the place of the index that the target had under this tag"


class Manifests(Protocol):
    """Reads manifests of registries. Many tasks call it at once. Never retries by itself."""

    async def resolve(self, ref: Reference) -> Descriptor | None:
        """What `ref` names now, or None if it names nothing. Costs a HEAD.

        Raises CopyError whose `where` has the registry alone.
        """

    async def manifest(self, ref: Reference) -> RawManifest:
        """The exact bytes that `ref` names, at most 4 MiB, their digest checked. Costs a GET.

        Raises CopyError whose `where` has the registry alone; NotFound if it names nothing.
        """

    async def config(self, ref: Reference) -> bytes:
        """The config of an image by its digest, at most 4 MiB, its digest checked. Costs a GET.

        Raises CopyError whose `where` has the registry alone.
        """


class Begun(Protocol):
    """An upload that has begun."""

    async def cancel(self) -> None:
        """Tell the target that nothing will come of it. Never raises, never takes long."""


class Uploads(Protocol):
    """Begins uploads."""

    async def begin_anew(self, ref: Reference) -> Begun:
        """Begin to upload the blob `ref`. Raises CopyError whose `where` has the registry alone."""
