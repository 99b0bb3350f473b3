"""The list of what refers to a manifest, kept by clients at a tag where the registry keeps none.

OCI distribution-spec, “Referrers Tag Schema”: whoever adds to it reads, changes and writes the
whole, and of two who do so at once one is lost. So it is read again until all is in it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from anyio import Lock

from asyncsync.model.digest import Digest, referrers_tag
from asyncsync.model.errors import BlobsUnknown, DigestMismatch, RefusedByTarget, Where
from asyncsync.model.job import Step
from asyncsync.model.manifest import OCI_INDEX, Index, RawManifest, listed, parse_manifest
from asyncsync.model.reference import Reference
from asyncsync.transports.direct.contracts import Target
from asyncsync.transports.direct.graph import Node
from asyncsync.transports.direct.rewriting import written
from asyncsync.transports.stepping import Steps

WRITES_MAX = 5  # of one list by one image, while others write it as well


class Fallbacks:
    """Adds to such lists of a target. One for a run, in which each list is changed by one alone."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._locks: dict[Reference, Lock] = {}

    async def add(self, subject: Reference, referrers: Sequence[Node], steps: Steps) -> None:
        """See that `referrers`, which are in place, are in the list of the digest of `subject`.

        Raises CopyError: RefusedByTarget where the tag is in use for something else.
        """
        assert subject.digest is not None  # noqa: S101  nothing refers to a tag
        at = subject.by_tag(referrers_tag(subject.digest))
        async with self._locks.setdefault(at, Lock()):
            gone: set[Digest] = set()
            for _ in range(WRITES_MAX):
                if not await self._added(at, referrers, gone, steps):
                    return
            if _with(await self._read(at, steps), referrers, gone, at) is not None:
                what = f"{at} was written by others each time that we added to it"
                raise DigestMismatch(what, Where(str(at.place)))

    async def _added(
        self, at: Reference, referrers: Sequence[Node], gone: set[Digest], steps: Steps
    ) -> bool:
        """Whether something was missing, and the list was written once with it."""
        changed = _with(await self._read(at, steps), referrers, gone, at)
        if changed is None:
            return False
        try:
            await steps.part(Step.COPY, lambda: self._target.put(at, changed))
        except BlobsUnknown as unknown:
            # Somebody has deleted what it names; a registry that checks it takes no more such list.
            deleted = set(unknown.missing) - {node.raw.digest for node in referrers}
            if deleted <= gone:
                raise
            gone |= deleted
        return True

    async def _read(self, at: Reference, steps: Steps) -> RawManifest | None:
        # By `look`, which asks no mirror, and then by digest: so it is the newest one.
        seen = await steps.part(Step.COPY, lambda: self._target.look(at))
        if seen is None:
            return None
        return await steps.part(Step.COPY, lambda: self._target.manifest(at.by_digest(seen.digest)))


def _with(
    page: RawManifest | None, referrers: Sequence[Node], gone: Collection[Digest], at: Reference
) -> RawManifest | None:
    try:
        return extended(page, referrers, gone)
    except ValueError as error:
        what = f"{at} is no list of what refers to an image that can be added to: {error}"
        raise RefusedByTarget(what, Where(str(at.place))) from error


def extended(
    page: RawManifest | None, referrers: Sequence[Node], gone: Collection[Digest] = ()
) -> RawManifest | None:
    """The list `page` with `referrers` in it and without `gone`; None if it is so already.

    What others wrote about theirs stays as it is. Raises ValueError where it is no such list.
    """
    body: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    there: list[Digest] = []
    if page is not None:
        parsed = parse_manifest(page)
        if page.media_type != OCI_INDEX or not isinstance(parsed, Index):
            raise ValueError("it is not an index")
        body = json.loads(page.data)
        there = [entry.digest for entry in parsed.manifests]
    kept = [
        entry for entry, digest in zip(body["manifests"], there, strict=True) if digest not in gone
    ]
    new = {node.raw.digest: listed(node.raw, node.parsed) for node in referrers}
    entries = [*kept, *(entry for digest, entry in new.items() if digest not in there)]
    return (
        None if entries == body["manifests"] else written(OCI_INDEX, body | {"manifests": entries})
    )
