"""Requests to answers: who may come in, which end-point it is, and what went wrong."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from aiohttp import web
from anyio import fail_after

from asyncsync.model.foreign import shown
from asyncsync.server import paths
from asyncsync.server.access import Access
from asyncsync.server.blobs import Blobs
from asyncsync.server.catalog import Catalog
from asyncsync.server.changes import Changes
from asyncsync.server.disk import Disk
from asyncsync.server.errors import Code, Refused, of_the_disk
from asyncsync.server.limits import Limits
from asyncsync.server.manifests import Manifests
from asyncsync.server.sending import ALWAYS, letting_go
from asyncsync.server.uploads import Uploads
from asyncsync.stores.layout.folder import LayoutFolder
from asyncsync.stores.layout.index import BrokenLayout

Answer = Awaitable[web.StreamResponse]

_DISK_THREADS = 32
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_METHODS: dict[type[paths.Place], tuple[str, ...]] = {
    paths.Base: ("GET", "HEAD"),
    paths.Repositories: ("GET",),
    paths.Blob: ("GET", "HEAD", "DELETE"),
    paths.Uploads: ("POST",),
    paths.Upload: ("GET", "PATCH", "PUT", "DELETE"),
    paths.Manifest: ("GET", "HEAD", "PUT", "DELETE"),
    paths.Tags: ("GET",),
    paths.Referrers: ("GET",),
}
_READING = ("GET", "HEAD")
_TELL_BUG = "this is a bug in asyncsync"


@dataclass(frozen=True, slots=True)
class Answered:
    """One request that was answered. `problem`: what no client did.

    `path` without its query, as it came: decoded it could be more words of a log's line.
    """

    client: str
    method: str
    path: str
    status: int
    bytes: int
    seconds: float
    problem: str = ""


Tell = Callable[[Answered], None]


class Application:
    """The end-points of a registry over one layout."""

    def __init__(
        self,
        folder: LayoutFolder,
        access: Access,
        *,
        read_only: bool,
        limits: Limits,
        tell: Tell,
    ) -> None:
        disk = Disk(_DISK_THREADS)
        changes = Changes()
        self.catalog = Catalog(folder)
        self.uploads = Uploads(folder, limits, disk)
        self._blobs = Blobs(folder, self.catalog, changes, limits, disk)
        self._manifests = Manifests(self.catalog, changes, limits, disk)
        self._access, self._read_only, self._tell = access, read_only, tell
        self._idle_seconds = limits.idle_seconds

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, and tell of it."""
        began = time.monotonic()
        client, path = shown(request.remote or ""), request.rel_url.raw_path
        told = Answered(client, request.method, path, 499, 0, 0)
        try:
            try:
                response = await self._answer(request)
            except Refused as refused:
                response = _refusal(request, refused)
            except ConnectionError:
                raise
            except (OSError, BrokenLayout) as error:
                failure = _of_the_layout(error)
                told = replace(told, problem=failure.message)
                response = _refusal(request, failure)
            except Exception as error:  # noqa: BLE001  a bug: it is told, and the others go on
                problem = f"{_TELL_BUG} ({type(error).__name__})"
                told = replace(told, problem=problem)
                response = _refusal(request, Refused(500, Code.UNKNOWN, problem, closes=True))
            await self._send(request, response)
            told = replace(told, status=response.status, bytes=response.body_length)
            return response
        finally:
            self._tell(replace(told, seconds=time.monotonic() - began))

    async def _send(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Bring the answer out. aiohttp would, too, but it waits for its reader for ever.

        Raises ConnectionError.
        """
        with letting_go(request), fail_after(self._idle_seconds):
            await response.prepare(request)
            await response.write_eof()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        await self._access.check(request.headers.get("Authorization"))
        place = paths.place(request.path)
        methods = _METHODS[type(place)]
        if self._read_only:
            methods = tuple(method for method in methods if method in _READING)
        if request.method not in methods:
            what = "this registry is read-only" if self._read_only else "nothing of that kind here"
            headers = {"Allow": ", ".join(methods)}
            raise Refused(405, Code.UNSUPPORTED, what, headers=headers, closes=True)
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(_CONTINUE)
            request.writer.output_size = 0  # that was no answer yet
        response = await self._route(request, place)
        if not response.prepared:
            response.headers.update(ALWAYS)
        return response

    def _route(self, request: web.BaseRequest, place: paths.Place) -> Answer:
        match request.method, place:
            case _, paths.Base():
                return _base()
            case _, paths.Repositories():
                return self._manifests.repositories(request)
            case "HEAD", paths.Blob():
                return self._blobs.head(place)
            case "GET", paths.Blob():
                return self._blobs.get(request, place)
            case _, paths.Blob():
                return self._blobs.delete(place)
            case _, paths.Uploads():
                return self.uploads.begin(request, place)
            case "PATCH", paths.Upload():
                return self.uploads.append(request, place)
            case "PUT", paths.Upload():
                return self.uploads.finish(request, place)
            case "GET", paths.Upload():
                return self.uploads.status(place)
            case _, paths.Upload():
                return self.uploads.cancel(place)
            case "PUT", paths.Manifest():
                return self._manifests.put(request, place)
            case "DELETE", paths.Manifest():
                return self._manifests.delete(place)
            case _, paths.Manifest():
                return self._manifests.get(request, place)
            case _, paths.Tags():
                return self._manifests.tags(request, place)
            case _, paths.Referrers():
                return self._manifests.referrers(request, place)
        raise AssertionError("every end-point has its answer")


async def _base() -> web.StreamResponse:
    return web.json_response({})


def _refusal(request: web.BaseRequest, refused: Refused) -> web.StreamResponse:
    """The answer, if there can still be one."""
    if request.writer.output_size > 0:
        raise ConnectionResetError("an answer has begun already")
    headers = {**ALWAYS, **refused.headers}
    response = web.Response(
        status=refused.status,
        body=refused.document,
        content_type="application/json",
        headers=headers,
    )
    if refused.closes:
        response.force_close()
    return response


def _of_the_layout(error: OSError | BrokenLayout) -> Refused:
    if isinstance(error, OSError):
        return of_the_disk(error)
    return Refused(500, Code.UNKNOWN, f"the registry's folder is damaged: {error}", closes=True)
