"""Uploads under way (OCI distribution-spec, “Pushing blobs”). A server that ends forgets them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import ExitStack, aclosing, asynccontextmanager

from aiohttp import web
from anyio import CancelScope, Lock, current_time

from asyncsync.model.digest import Digest
from asyncsync.server import bodies, paths
from asyncsync.server.disk import Disk
from asyncsync.server.errors import Code, Refused, digest_invalid, upload_unknown
from asyncsync.server.limits import Limits
from asyncsync.server.ranges import chunk, received
from asyncsync.stores.layout.folder import LayoutFolder
from asyncsync.stores.layout.writing import BlobWriter, WrongDigest

_BUSY_SECONDS = 60.0  # one that was touched since then is not given up for a new one
_RETRY_SECONDS = 10  # what a client is told that finds no room


class _Upload:
    """One of them. Its file is made with its first byte, so that one that only asks costs none."""

    def __init__(self, repository: str) -> None:
        self.id, self.repository = secrets.token_hex(16), repository
        self.touched, self.over = current_time(), False
        self.writer: BlobWriter | None = None
        self.file = ExitStack()
        self._turn, self._holder = Lock(), CancelScope()

    @property
    def offset(self) -> int:
        return self.writer.offset if self.writer else 0

    @property
    def idle(self) -> bool:
        return not self._turn.locked()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Be the one whose request this is about; an earlier one that still goes on is ended.

        Whoever asks again has lost its connection, which we may learn much later; what came by it
        counts, and what would still come must not.
        """
        self.interrupt()
        async with self._turn:
            if self.over:
                raise upload_unknown()
            with CancelScope() as self._holder:
                yield
            self.touched = current_time()
        if self._holder.cancelled_caught:
            what = "this upload was taken up by another request, or the registry is stopping"
            raise Refused(409, Code.BLOB_UPLOAD_INVALID, what, closes=True)

    def interrupt(self) -> None:
        """End the request that is under way for it."""
        self._holder.cancel()

    def close(self) -> None:
        """It is over, and its file is gone unless it was committed."""
        self.over = True
        self.file.close()


class Uploads:
    """All uploads of a server, by id. Their number is bounded, and they expire."""

    def __init__(self, folder: LayoutFolder, limits: Limits, disk: Disk) -> None:
        self._folder, self._limits, self._disk = folder, limits, disk
        self._under_way: dict[str, _Upload] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    async def begin(self, request: web.BaseRequest, at: paths.Uploads) -> web.StreamResponse:
        """POST: begin one; with `mount` or `digest` a blob may be there when this is answered."""
        if (mounted := request.query.get("mount")) is not None:
            # A layout has its blobs for all repositories, so what is there can be mounted, whatever
            # `from` says: whoever may come in may read them all anyway.
            digest = paths.digest(mounted)
            if await self._disk(lambda: self._folder.blob(digest)) is not None:
                return _created(at.repository, digest)
        elif (named := request.query.get("digest")) is not None:
            return await self._at_once(request, at.repository, paths.digest(named))
        upload = self._new(at.repository)
        return web.Response(status=202, headers=_headers(upload))

    async def append(self, request: web.BaseRequest, at: paths.Upload) -> web.StreamResponse:
        """PATCH: take in what comes, or the chunk that Content-Range says it is."""
        upload = self._find(at)
        part = chunk(request.headers.get("Content-Range"), request.content_length)
        async with upload.held():
            self._check_order(upload, part)
            await self._receive(request, upload)
            return web.Response(status=202, headers=_headers(upload))

    async def status(self, at: paths.Upload) -> web.StreamResponse:
        """GET: how far it came."""
        upload = self._find(at)
        async with upload.held():
            return web.Response(status=204, headers=_headers(upload))

    async def finish(self, request: web.BaseRequest, at: paths.Upload) -> web.StreamResponse:
        """PUT: take in what is left of it, and make it a blob if its digest is right."""
        upload = self._find(at)
        digest = paths.digest(request.query.get("digest", ""))
        part = chunk(request.headers.get("Content-Range"), request.content_length)
        async with upload.held():
            self._check_order(upload, part)
            await self._receive(request, upload)
            # Shielded: a client that goes away now, or a stop, finds a whole blob or none.
            with CancelScope(shield=True):
                try:
                    await self._commit(upload, digest)
                finally:
                    self._forget(upload)
            return _created(at.repository, digest)

    async def cancel(self, at: paths.Upload) -> web.StreamResponse:
        """DELETE: nothing will come of it."""
        upload = self._find(at)
        async with upload.held():
            self._forget(upload)
        return web.Response(status=204)

    def expire(self) -> None:
        """Give up those that nobody has gone on with."""
        self._give_up(current_time() - self._limits.upload_seconds)

    def interrupt(self) -> None:
        """End the requests under way, as the server ends."""
        for upload in self._under_way.values():
            upload.interrupt()

    def close(self) -> None:
        """Give up all of them."""
        for upload in list(self._under_way.values()):
            self._forget(upload)

    def _new(self, repository: str) -> _Upload:
        if len(self._under_way) >= self._limits.uploads:
            self._give_up(current_time() - min(_BUSY_SECONDS, self._limits.upload_seconds))
        if len(self._under_way) >= self._limits.uploads:
            raise Refused(
                429,
                Code.TOOMANYREQUESTS,
                f"{self._limits.uploads} uploads are under way already",
                headers={"Retry-After": str(_RETRY_SECONDS)},
            )
        upload = _Upload(repository)
        self._under_way[upload.id] = upload
        return upload

    def _find(self, at: paths.Upload) -> _Upload:
        upload = self._under_way.get(at.id)
        if upload is None or upload.repository != at.repository:
            raise upload_unknown()
        upload.touched = current_time()
        return upload

    async def _at_once(
        self, request: web.BaseRequest, repository: str, digest: Digest
    ) -> web.StreamResponse:
        upload = self._new(repository)
        try:
            async with upload.held():
                await self._receive(request, upload, digest.algorithm)
                with CancelScope(shield=True):
                    await self._commit(upload, digest)
        finally:
            self._forget(upload)
        return _created(repository, digest)

    @staticmethod
    def _check_order(upload: _Upload, part: range | None) -> None:
        if part is not None and part.start != upload.offset:
            what = f"a chunk begins at {part.start}, and the upload is at {upload.offset}"
            raise Refused(416, Code.BLOB_UPLOAD_INVALID, what, headers=_headers(upload))

    async def _receive(
        self, request: web.BaseRequest, upload: _Upload, algorithm: str = "sha256"
    ) -> None:
        most = self._limits.blob_bytes - upload.offset
        body = bodies.pieces(request, most, self._limits.idle_seconds, "the blob")
        async with aclosing(body) as parts:
            async for part in parts:
                writer = await self._writer(upload, algorithm)
                try:
                    await self._disk(lambda: writer.write(part))  # noqa: B023  awaited here
                except OSError:  # half of it may be written: what its offset says is not true
                    self._forget(upload)
                    raise

    async def _commit(self, upload: _Upload, digest: Digest) -> None:
        writer = await self._writer(upload, digest.algorithm)
        try:
            await self._disk(lambda: writer.commit(digest))
        except WrongDigest as error:
            raise digest_invalid(error) from None

    async def _writer(self, upload: _Upload, algorithm: str) -> BlobWriter:
        if upload.writer is None:
            made = self._folder.writing(algorithm)
            upload.writer = await self._disk(lambda: upload.file.enter_context(made))
        return upload.writer

    def _give_up(self, before: float) -> None:
        for upload in list(self._under_way.values()):
            if upload.idle and upload.touched <= before:
                self._forget(upload)

    def _forget(self, upload: _Upload) -> None:
        self._under_way.pop(upload.id, None)
        upload.close()


def _headers(upload: _Upload) -> dict[str, str]:
    return {
        # Relative: behind a proxy, only the client knows by which name it came.
        "Location": f"/v2/{upload.repository}/blobs/uploads/{upload.id}",
        "Range": received(upload.offset),
        "Docker-Upload-UUID": upload.id,
    }


def _created(repository: str, digest: Digest) -> web.Response:
    headers = {
        "Location": f"/v2/{repository}/blobs/{digest}",
        "Docker-Content-Digest": str(digest),
    }
    return web.Response(status=201, headers=headers)
