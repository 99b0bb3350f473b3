"""What a job has to do at all: rules of “unchanged”, of platforms, of registries out of reach."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from asyncsync.model import errors
from asyncsync.model.errors import CopyError, Where
from asyncsync.model.events import Event, Noted
from asyncsync.model.job import CopyJob
from asyncsync.model.manifest import OCI_INDEX, OCI_MANIFEST, Descriptor, RawManifest
from asyncsync.model.platform import Platform
from asyncsync.model.reference import Digest, Reference
from asyncsync.model.spec import Position
from asyncsync.retrying import Retrying
from asyncsync.transports.engine.resolving import Resolver, Sighting
from asyncsync.transports.stepping import Steps

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
SOURCE, TARGET = Reference.parse("s.example/a:1"), Reference.parse("t.example/a:1")


def raw(media_type: str, body: dict[str, Any]) -> RawManifest:
    data = json.dumps(body).encode()
    return RawManifest(media_type, data, Digest.of(data))


def image(config: str, packed: str = "") -> RawManifest:
    """An image; `packed` makes the same one with other layers' digests."""
    return raw(
        OCI_MANIFEST, {"config": descriptor(config), "layers": [descriptor(config + packed)]}
    )


def descriptor(content: str, platform: str | None = None) -> dict[str, Any]:
    described: dict[str, Any] = {
        "mediaType": OCI_MANIFEST, "digest": str(Digest.of(content.encode())), "size": 1
    }  # fmt: skip
    if platform:
        os, architecture = platform.split("/")
        described["platform"] = {"os": os, "architecture": architecture}
    return described


def index(**children: RawManifest) -> RawManifest:
    return raw(
        OCI_INDEX,
        {
            "manifests": [
                {
                    "mediaType": child.media_type, "digest": str(child.digest), "size": 1,
                    "platform": {"os": "linux", "architecture": architecture},
                }
                for architecture, child in children.items()
            ]
        },
    )  # fmt: skip


@dataclass
class Registries:
    """A small true implementation of Manifests, over what it is given."""

    held: dict[str, RawManifest] = field(default_factory=dict)
    failing: dict[str, Callable[[], CopyError]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def put(self, ref: Reference, manifest: RawManifest) -> None:
        self.held[str(ref)] = manifest
        self.held[str(ref.by_digest(manifest.digest))] = manifest

    async def resolve(self, ref: Reference) -> Descriptor | None:
        self._ask("HEAD", ref)
        found = self.held.get(str(ref))
        return found and Descriptor(found.media_type, found.digest, len(found.data))

    async def manifest(self, ref: Reference) -> RawManifest:
        self._ask("GET", ref)
        return self.held[str(ref)]

    def _ask(self, method: str, ref: Reference) -> None:
        self.asked.append(f"{method} {ref.place}")
        if error := self.failing.get(str(ref.place)):
            raise error()


async def no_wait(seconds: float) -> None: ...


class Asking:
    """A resolver over `registries`, and what it noted."""

    def __init__(self, registries: Registries, retries: int = 0) -> None:
        self.notes: list[str] = []
        self._resolver = Resolver(registries, AMD64)
        self._retrying = Retrying(retries, sleep=no_wait)

    def observe(self, event: Event) -> None:
        if isinstance(event, Noted):
            self.notes.append(event.text)

    async def __call__(self, *platforms: Platform) -> Sighting:
        job = CopyJob(SOURCE, TARGET, platforms, Position("images.yaml", 1))
        return await self._resolver.run(job, Steps(job, self.observe, self._retrying), self.observe)


async def test_an_equal_manifest_is_unchanged_for_two_heads() -> None:
    registries, same = Registries(), image("c")
    registries.put(SOURCE, same)
    registries.put(TARGET, same)
    seen = await Asking(registries)()
    assert seen.unchanged == same.digest
    assert registries.asked == ["HEAD s.example", "HEAD t.example"]


async def test_an_image_packed_anew_by_a_push_is_unchanged_by_its_config() -> None:
    registries, ours, theirs = Registries(), image("c"), image("c", "packed anew")
    registries.put(SOURCE, ours)
    registries.put(TARGET, theirs)
    assert (await Asking(registries)()).unchanged == theirs.digest


async def test_another_image_is_not_unchanged() -> None:
    registries = Registries()
    registries.put(SOURCE, image("c"))
    registries.put(TARGET, image("d"))
    seen = await Asking(registries)()
    assert seen == Sighting(image("c").digest)


async def test_an_index_is_pulled_by_the_digest_of_its_platform() -> None:
    registries, whole = Registries(), index(amd64=image("amd"), arm64=image("arm"))
    registries.put(SOURCE, whole)
    assert (await Asking(registries)()).digest == image("amd").digest
    assert (await Asking(registries)(ARM64)).digest == image("arm").digest


async def test_a_whole_index_at_the_target_is_unchanged_unless_one_platform_was_asked() -> None:
    registries, whole = Registries(), index(amd64=image("amd"), arm64=image("arm"))
    registries.put(SOURCE, whole)
    registries.put(TARGET, whole)
    assert (await Asking(registries)()).unchanged == whole.digest
    assert (await Asking(registries)(ARM64)).unchanged is None


async def test_that_an_index_is_reduced_is_said_once_a_run_and_not_where_it_was_asked_for() -> None:
    registries = Registries()
    registries.put(SOURCE, index(amd64=image("amd"), arm64=image("arm")))
    asking = Asking(registries)
    await asking(AMD64)
    assert asking.notes == []
    await asking()
    await asking()
    assert len(asking.notes) == 1
    assert "linux/amd64" in asking.notes[0]


async def test_a_platform_that_the_index_lacks_is_told_with_those_it_has() -> None:
    registries = Registries()
    registries.put(SOURCE, index(amd64=image("amd"), s390x=image("s")))
    with pytest.raises(errors.NoSuchPlatform, match="it has linux/amd64, linux/s390x") as caught:
        await Asking(registries)(ARM64)
    assert caught.value.where == Where("s.example", str(SOURCE), caught.value.where.step)


async def test_a_tag_that_does_not_exist_is_not_found() -> None:
    with pytest.raises(
        errors.NotFound, match=r"s\.example/a has no tag 1 \(resolve at s\.example\)"
    ):
        await Asking(Registries())()


def unreachable(host: str) -> Callable[[], CopyError]:
    return lambda: errors.RegistryUnavailable("no route to it", Where(host), transient=True)


async def test_a_source_out_of_reach_is_left_to_the_engine_and_asked_no_more() -> None:
    registries = Registries(failing={"s.example": unreachable("s.example")})
    asking = Asking(registries, retries=2)
    assert await asking() == Sighting(None)
    assert len(registries.asked) == 3
    assert await asking() == Sighting(None)
    assert len(registries.asked) == 3
    assert len(asking.notes) == 1
    assert "pulls by tag" in asking.notes[0]


async def test_a_target_out_of_reach_is_said_once_and_copied_to_all_the_same() -> None:
    registries = Registries(failing={"t.example": unreachable("t.example")})
    registries.put(SOURCE, image("c"))
    asking = Asking(registries)
    assert await asking() == Sighting(image("c").digest, target_asked=False)
    assert await asking() == Sighting(image("c").digest, target_asked=False)
    assert registries.asked.count("HEAD t.example") == 1
    assert len(asking.notes) == 1


async def test_a_target_that_refuses_our_login_is_not_pulled_for() -> None:
    refused = errors.AuthenticationFailed("401", Where("t.example"))
    registries = Registries(failing={"t.example": lambda: refused})
    registries.put(SOURCE, image("c"))
    with pytest.raises(errors.AuthenticationFailed):
        await Asking(registries)()


async def test_a_target_that_only_takes_pushes_is_copied_to() -> None:
    denied = errors.PermissionDenied("403", Where("t.example"))
    registries = Registries(failing={"t.example": lambda: denied})
    registries.put(SOURCE, image("c"))
    assert await Asking(registries)() == Sighting(image("c").digest)


@pytest.mark.parametrize(
    "body", [{"manifests": 1}, {"layers": []}, {"manifests": [], "config": {}}]
)
async def test_an_index_that_is_none_is_refused(body: dict[str, Any]) -> None:
    registries = Registries()
    registries.put(SOURCE, raw(OCI_INDEX, body))
    with pytest.raises(errors.UnsupportedManifest):
        await Asking(registries)()
