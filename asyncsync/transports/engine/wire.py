"""The few calls that we make to an engine, over aiodocker's connection.

They do not use aiodocker's own methods for images: cancelling those leaves the transfer running in
the engine, a stream that breaks off ends like one that succeeded, and `tag` leaves its connection
open. Here every response is ours, so closing it stops the engine.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiodocker
import aiohttp
import anyio

from asyncsync.model.digest import Digest
from asyncsync.model.foreign import shown
from asyncsync.model.platform import Platform
from asyncsync.transports.engine.finding import CALL_TIMEOUT
from asyncsync.transports.engine.queue import Queue
from asyncsync.transports.engine.records import Lines, Progress, StreamError

ANSWER_SECONDS = 20.0  # for an engine to say its version; a busy one took 3
IDLE_SECONDS = 300.0  # containerd reports full MiBs only, classic queues for minutes: 60 is normal
_IDLE_GRAIN_SECONDS = 1.0
_STREAM_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=15 * 60)
_ERROR_BYTES_MAX = 64 * 1024
_TEXT_MAX = 64 * 1024  # characters kept of what an engine says
_ANSWER_BYTES_MAX = 4 * 1024 * 1024
_ANSWER_STATUS = 300  # from here on the engine says no


class Fault(Exception):
    """The engine did not do what it was asked. `str()` is ours, and safe to show."""


class Lost(Fault):
    """The engine went away: no connection, or one that broke."""


class Stalled(Fault):
    """The engine is there, but nothing moves."""


class Unfinished(Fault):
    """The engine ended a stream in order, but without a result."""


class Refused(Fault):
    """The engine says no. `status` is a hint at most, 0 inside a stream.

    `text` is the engine's own: neither `str` nor `repr` shows it. `retried`: the engine has already
    tried again and again by itself.
    """

    def __init__(self, status: int, text: str, *, retried: bool = False) -> None:
        super().__init__(f"the engine refused ({status})")
        self.status, self.text, self.retried = status, text[:_TEXT_MAX], retried


class Idle:
    """Ends what waits once nothing has moved on any stream of the run for `seconds`.

    Silence of one stream says nothing: its layers may be queued behind those of another.
    """

    def __init__(self, seconds: float = IDLE_SECONDS) -> None:
        self._seconds = seconds
        self._moved = -math.inf
        self._watched: set[anyio.CancelScope] = set()

    def moved(self) -> None:
        """Something changed, somewhere."""
        now = anyio.current_time()
        if now - self._moved > _IDLE_GRAIN_SECONDS:  # engines tell ten changes a second and layer
            self._moved = now
            for scope in self._watched:
                scope.deadline = now + self._seconds

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Give up the block, with Stalled, when the whole run stands still."""
        self.moved()
        with anyio.CancelScope(deadline=anyio.current_time() + self._seconds) as scope:
            self._watched.add(scope)
            try:
                yield
            finally:
                self._watched.discard(scope)
        if scope.cancelled_caught:
            raise Stalled(f"nothing moved in the engine for {self._seconds:.0f} s")


class Engine:
    """A running engine. Many tasks call it at once. Raises Fault and nothing else."""

    def __init__(
        self,
        docker: aiodocker.Docker,
        version: Mapping[str, Any],
        info: Mapping[str, Any],
        idle: Idle,
        queue: Queue,
    ) -> None:
        self._docker, self._idle, self._queue = docker, idle, queue
        components = version.get("Components") or []
        first = str(components[0].get("Name", "")) if components else ""
        self.is_podman = first.startswith("Podman")
        self.name = shown(f"{'Podman' if self.is_podman else 'Docker'} {version.get('Version')}")
        self.platform = Platform(shown(str(version.get("Os"))), shown(str(version.get("Arch"))))
        # Docker Engine ≥ 23: an image store of containerd keeps manifests byte for byte.
        self.keeps_manifests = [
            "driver-type",
            "io.containerd.snapshotter.v1",
        ] in (info.get("DriverStatus") or [])
        self._api = tuple(int(n) for n in str(version.get("ApiVersion", "1.40")).split(".")[:2])

    @property
    def limits_bind(self) -> bool:
        """Whether layers have long waited for this engine's own limits, which can be raised."""
        return self._queue.binds and not (self.keeps_manifests or self.is_podman)

    @classmethod
    async def ask(
        cls,
        docker: aiodocker.Docker,
        idle: Idle,
        queue: Queue | None = None,
        *,
        seconds: float = ANSWER_SECONDS,
    ) -> Engine:
        """Ask who answers, and wait no longer than a person would. Raises Fault if nobody does."""
        with _calling(), anyio.fail_after(seconds):
            version, info = await docker.version(), await docker.system.info()
            return cls(docker, version, info, idle, queue or Queue())

    async def pull(
        self,
        name: str,
        auth: str,
        moved: Callable[[str, int], None],
        platform: Platform | None = None,
    ) -> None:
        """Fetch `name`, always with its tag or digest: without, engines fetch all tags.

        `moved` is told the bytes so far of each layer, by the layer's id.
        """
        params = {"fromImage": name} | ({"platform": str(platform)} if platform else {})
        progress = await self._stream("images/create", params, auth, moved)
        if not progress.done and (not self.is_podman or await self.inspect(name) is None):
            raise Unfinished("the engine ended the pull without a result")

    async def push(self, name: str, tag: str, auth: str, platform: Platform | None) -> Digest:
        """Send `name:tag`; the digest is the one that the engine says it sent."""
        params = {"tag": tag}
        if platform and self.keeps_manifests and self._api >= (1, 46):
            wanted = {"os": platform.os, "architecture": platform.architecture}
            params["platform"] = json.dumps(
                wanted | ({"variant": platform.variant} if platform.variant else {})
            )
        progress = await self._stream(f"images/{name}/push", params, auth, lambda *_: None)
        if progress.pushed is None:
            raise Unfinished("the engine ended the push without a result")
        return progress.pushed

    async def tag(self, name: str, repository: str, tag: str) -> None:
        """Give the local image `name` a second name."""
        params = {"repo": repository, "tag": tag}
        async with self._request("POST", f"images/{name}/tag", params, "", CALL_TIMEOUT):
            pass

    async def inspect(self, name: str) -> Mapping[str, Any] | None:
        """What the engine knows about `name`, or None if it has no such image."""
        try:
            return await self._json(f"images/{name}/json", "")
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    async def config_of(self, name: str) -> Digest | None:
        """The digest of the config of its image `name`; None if it has none, or does not say it.

        For a store that packs layers anew: there it is the image's Id, which podman writes bare.
        """
        image = await self.inspect(name)
        try:
            return Digest.parse(str(image["Id"])) if image else None
        except (ValueError, KeyError):
            return None

    async def remove(self, name: str) -> None:
        """Take the name away, and the image with its last name. Never by force; gone is fine."""
        try:
            async with self._request("DELETE", f"images/{name}", {}, "", CALL_TIMEOUT):
                pass
        except Refused as refused:
            if refused.status != 404:
                raise

    async def distribution(self, name: str, auth: str) -> Digest:
        """The digest that the registry has under `name`, asked through the engine's network."""
        answer = await self._json(f"distribution/{name}/json", auth)
        try:
            return Digest.parse(answer["Descriptor"]["digest"])
        except (ValueError, KeyError, TypeError):
            raise Refused(0, "the engine's answer about the registry is not readable") from None

    async def _json(self, path: str, auth: str) -> Mapping[str, Any]:
        async with self._request("GET", path, {}, auth, CALL_TIMEOUT) as response:
            body = await _bounded(response, _ANSWER_BYTES_MAX)
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise Refused(0, "the engine's answer is not readable")
        return answer

    async def _stream(
        self, path: str, params: Mapping[str, str], auth: str, moved: Callable[[str, int], None]
    ) -> Progress:
        lines, progress = Lines(), Progress()

        def read(line: bytes) -> None:
            changed, layer, count = progress.read(line)
            queued(progress.queued)
            if changed:
                self._idle.moved()
            if layer:
                moved(layer, count)

        with self._idle.watch(), self._queue.stream() as queued:
            async with self._request("POST", path, params, auth, _STREAM_TIMEOUT) as response:
                try:
                    while chunk := await response.content.readany():
                        for line in lines.feed(chunk):
                            read(line)
                    for line in lines.end():
                        read(line)
                except StreamError as error:
                    raise Refused(0, str(error), retried=progress.retried) from None
        return progress

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        params: Mapping[str, str],
        auth: str,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  aiohttp's own kind, by socket
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        url = f"{self._docker.docker_host}/{self._docker.api_version}/{path}"
        headers = {"X-Registry-Auth": auth} if auth else {}
        with _asking():
            response = await self._docker.session.request(
                method, url, params=params, headers=headers, timeout=timeout
            )
            try:
                if response.status >= _ANSWER_STATUS:
                    raise Refused(
                        response.status, _message(await _bounded(response, _ERROR_BYTES_MAX))
                    )
                yield response
            finally:
                response.close()  # at once, not awaited: it is what stops the engine


@contextmanager
def _asking() -> Iterator[None]:
    """Turn aiohttp's exceptions into ours, most specific first."""
    try:
        yield
    except TimeoutError as error:
        raise Stalled("the engine sent nothing for too long") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Lost("the connection to the engine broke") from error


@contextmanager
def _calling() -> Iterator[None]:
    """Turn what aiodocker's own methods raise into ours; they read answers without looking."""
    try:
        with _asking():
            yield
    except aiodocker.DockerError as error:
        if error.status == 900:  # aiodocker's own number for: it cannot connect
            raise Lost("the engine does not answer") from error
        raise Refused(error.status, str(error.message)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(0, "the engine's answer is not readable") from error


async def _bounded(response: aiohttp.ClientResponse, most: int) -> bytes:
    body = b""
    while len(body) < most and (chunk := await response.content.read(most - len(body))):
        body += chunk
    return body


def _message(body: bytes) -> str:
    try:
        match json.loads(body):
            case {"message": str(message)}:
                return message
            case {"cause": str(cause)}:  # podman's own shape
                return cause
    except (ValueError, RecursionError):
        pass
    return body.decode("utf-8", "replace")
