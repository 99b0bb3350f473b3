"""Manifests and blobs of one registry, as one session asks for them. All raise CopyError.

`writes`: asked with the right to push, so that one token serves for all of an image.
"""

from __future__ import annotations

from collections.abc import Mapping

from asyncsync.model.digest import Digest
from asyncsync.model.errors import CopyError, DigestMismatch, NotFound, UnsupportedManifest, Where
from asyncsync.model.manifest import (
    ACCEPTED_TYPES,
    MANIFEST_BYTES_MAX,
    Descriptor,
    RawManifest,
    Taken,
)
from asyncsync.model.reference import Reference
from asyncsync.stores.registry.answers import blob_missing, not_found, refusal
from asyncsync.stores.registry.ask import Ask
from asyncsync.stores.registry.bodies import Streamed
from asyncsync.stores.registry.kinds import descriptor_of, digest_told, manifest_of
from asyncsync.stores.registry.ranges import skipped
from asyncsync.stores.registry.rates import Kind
from asyncsync.stores.registry.session import Session


async def resolved(session: Session, ref: Reference, *, writes: bool) -> Descriptor | None:
    """What `ref` names now, or None: a HEAD, and a GET where that tells too little."""
    answer = await session.ask(_asking("HEAD", ref, writes=writes))
    if answer.status == 404:
        return None
    if answer.status == 200:
        if found := descriptor_of(answer.headers, ref):
            return found
    elif answer.status != 405:
        raise session.failure(answer)
    try:
        raw = await read(session, ref, writes=writes)
    except NotFound:
        return None
    return Descriptor(raw.media_type, raw.digest, len(raw.data))


async def read(session: Session, ref: Reference, *, writes: bool) -> RawManifest:
    """The manifest that `ref` names, its digest checked. Raises NotFound if there is none."""
    answer = await session.ask(_asking("GET", ref, writes=writes))
    if answer.status == 404:
        raise not_found(answer, ref)
    if answer.status != 200:
        raise session.failure(answer)
    if answer.cut:
        what = f"the manifest of {ref} is larger than {MANIFEST_BYTES_MAX // 2**20} MiB"
        raise UnsupportedManifest(what, Where(str(ref.place)))
    return manifest_of(answer.headers, answer.body, ref)


async def put(session: Session, ref: Reference, manifest: RawManifest) -> Taken:
    """Put a manifest under the tag or digest of `ref`, and take the target's word for it."""
    answer = await session.ask(
        Ask(
            "PUT",
            ref.repository,
            f"manifests/{ref.identifier}",
            Kind.WRITES,
            {"Content-Type": manifest.media_type},
            lambda: manifest.data,
            writes=True,
        )
    )
    if answer.status != 201:
        raise refusal(answer, session.push_failure(answer))
    told = digest_told(answer.headers)
    if told is None:
        seen = await resolved(session, ref, writes=True)
        told = seen.digest if seen else None
    if told is None or Digest.of(manifest.data, told.algorithm) != told:
        what = f"{ref.place} has {told or 'nothing'} under {ref.repository}:{ref.identifier}"
        raise DigestMismatch(f"{what}, but {manifest.digest} was put", Where(str(ref.place)))
    return Taken(told, digest_told(answer.headers, "OCI-Subject"))


async def config(session: Session, ref: Reference) -> bytes:
    """All of a config, its digest checked."""
    answer = await session.ask(Ask("GET", ref.repository, f"blobs/{ref.digest}", Kind.BLOBS))
    if answer.status != 200:
        raise session.failure(answer)
    if answer.cut:
        what = f"the config of {ref} is larger than {MANIFEST_BYTES_MAX // 2**20} MiB"
        raise UnsupportedManifest(what, Where(str(ref.place)))
    if ref.digest is None or Digest.of(answer.body, ref.digest.algorithm) != ref.digest:
        what = f"{ref.place} sent something else for the config {ref.digest} of {ref.name}"
        raise DigestMismatch(what, Where(str(ref.place)))
    return answer.body


async def open_blob(
    session: Session, ref: Reference, headers: Mapping[str, str], start: int
) -> tuple[Session, Streamed, int]:
    """Who answers for a blob, the answer, and how many of its bytes are before `start`."""
    path = f"blobs/{ref.digest}"
    answer = await session.ask(Ask("GET", ref.repository, path, Kind.BLOBS, headers, most=None))
    if not isinstance(answer, Streamed):
        raise blob_missing(ref) if answer.status == 404 else session.failure(answer)
    try:
        return session, answer, skipped(answer, ref, start)
    except CopyError:
        answer.close()
        raise


def _asking(method: str, ref: Reference, *, writes: bool) -> Ask:
    accept = {"Accept": ", ".join(ACCEPTED_TYPES)}
    kind = Kind.HEADS if method == "HEAD" else Kind.READS
    return Ask(method, ref.repository, f"manifests/{ref.identifier}", kind, accept, writes=writes)
