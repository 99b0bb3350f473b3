"""Blobs that are there (OCI distribution-spec, “Pulling blobs”, “Deleting Blobs”)."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from asyncsync.model.digest import Digest
from asyncsync.server import paths
from asyncsync.server.catalog import Catalog
from asyncsync.server.changes import Changes
from asyncsync.server.disk import Disk
from asyncsync.server.errors import Code, Refused, blob_unknown
from asyncsync.server.limits import Limits
from asyncsync.server.sending import content_headers, not_modified, part_of, send_file
from asyncsync.stores.layout.folder import LayoutFolder

_OCTETS = "application/octet-stream"


class Blobs:
    """The blobs of a layout, which every repository has.

    A layout has no repositories, only names of images. A blob that was pushed for one of them is
    told for all, and that is safe: whoever may come in may read everything, a manifest that names
    it will find it, and nobody sends again what is there.
    """

    def __init__(
        self,
        folder: LayoutFolder,
        catalog: Catalog,
        changes: Changes,
        limits: Limits,
        disk: Disk,
    ) -> None:
        self._folder, self._catalog, self._changes = folder, catalog, changes
        self._limits, self._disk = limits, disk

    async def head(self, at: paths.Blob) -> web.StreamResponse:
        """HEAD: whether it is there, and how large."""
        size = await self._disk(lambda: self._folder.size(at.digest))
        if size is None:
            raise blob_unknown(at.digest)
        headers = content_headers(at.digest, _OCTETS, size) | {"Accept-Ranges": "bytes"}
        return web.Response(headers=headers)

    async def get(self, request: web.BaseRequest, at: paths.Blob) -> web.StreamResponse:
        """GET: all of it, or a part. Its bytes are not hashed here; whoever asks does so."""
        found = await self._disk(lambda: self._file(at.digest))
        if found is None:
            raise blob_unknown(at.digest)
        path, size = found
        if unchanged := not_modified(request, at.digest):
            return unchanged
        part = part_of(request, at.digest, size)
        sent = range(size) if part is None else part
        headers = content_headers(at.digest, _OCTETS, len(sent)) | {"Accept-Ranges": "bytes"}
        if part is not None:
            headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{size}"
        try:
            return await send_file(
                request,
                path,
                sent,
                status=200 if part is None else 206,
                headers=headers,
                idle_seconds=self._limits.idle_seconds,
                disk=self._disk,
            )
        except FileNotFoundError:  # deleted in between
            raise blob_unknown(at.digest) from None

    async def delete(self, at: paths.Blob) -> web.StreamResponse:
        """DELETE: remove it, unless an image needs it: it would be gone for all repositories."""
        async with self._changes.alone():
            by = await self._disk(lambda: self._catalog.needed_by(at.digest))
            if by is not None:
                what = f"{at.digest} is part of {by}; delete that one first"
                raise Refused(409, Code.DENIED, what)
            if await self._disk(lambda: self._catalog.lists(at.digest)):
                what = f"{at.digest} is a manifest; delete it as one"
                raise Refused(409, Code.DENIED, what)
            if not await self._disk(lambda: self._catalog.drop_blob(at.digest)):
                raise blob_unknown(at.digest)
        return web.Response(status=202)

    def _file(self, digest: Digest) -> tuple[Path, int] | None:
        path, size = self._folder.blob(digest), self._folder.size(digest)
        return None if path is None or size is None else (path, size)
