"""What a job has to do at all: rules of “unchanged”, of platforms, of registries out of reach."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from parts.manifests import Registries, image, index, raw

from asyncsync.model import errors
from asyncsync.model.digest import Digest
from asyncsync.model.errors import AuthenticationFailed, CopyError, RateLimited, Where
from asyncsync.model.events import Event, Noted
from asyncsync.model.job import CopyJob
from asyncsync.model.manifest import OCI_INDEX, OCI_MANIFEST, Descriptor, RawManifest
from asyncsync.model.place import Place
from asyncsync.model.platform import Platform
from asyncsync.model.reference import Reference
from asyncsync.model.spec import Position
from asyncsync.retrying import Retrying
from asyncsync.transports.engine.resolving import Resolver, Sighting
from asyncsync.transports.stepping import Steps

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
SOURCE, TARGET = Reference.parse("s.example/a:1"), Reference.parse("t.example/a:1")


async def no_wait(seconds: float) -> None: ...


class Asking:
    """A resolver over `registries`, and what it noted."""

    def __init__(
        self,
        registries: Registries,
        retries: int = 0,
        *,
        advise: bool = False,
        held: Callable[[str], Awaitable[Digest | None]] | None = None,
    ) -> None:
        self.notes: list[str] = []
        self._resolver = Resolver(registries, AMD64, advise=advise, held=held)
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


def holding(**images: Digest) -> Callable[[str], Awaitable[Digest | None]]:
    """An engine that packs layers anew, and the configs of the images that it has, by digest."""

    async def held(name: str) -> Digest | None:
        return images.get(name.rpartition(":")[2])

    return held


@pytest.mark.parametrize("in_engine", [True, False])
@pytest.mark.parametrize("same", [True, False])
async def test_where_digests_do_not_tell_the_engine_is_asked_before_a_source_that_counts(
    in_engine: bool, same: bool
) -> None:
    registries, ours = Registries(), image("c")
    theirs = image("c" if same else "d", "packed anew")
    registries.put(SOURCE, ours)
    registries.put(TARGET, theirs)
    held = holding(**{ours.digest.hex: Digest.of(b"c")} if in_engine else {})
    assert (await Asking(registries, held=held)()).unchanged == (theirs.digest if same else None)
    assert registries.asked == ["HEAD s.example", "GET t.example"] + (
        [] if in_engine else ["GET s.example"]
    )


async def test_where_digests_do_not_tell_a_target_without_the_image_gets_it() -> None:
    registries = Registries()
    registries.put(SOURCE, image("c"))
    seen = await Asking(registries, held=holding())()
    assert seen == Sighting(image("c").digest, settled=True, unchanged=None, target_asked=True)


@pytest.mark.parametrize("transient", [False, True])
async def test_where_digests_do_not_tell_a_target_is_asked_for_all_until_it_answers(
    transient: bool,
) -> None:
    registries, theirs = Registries(), image("c", "packed anew")
    registries.put(SOURCE, image("c"))
    registries.put(TARGET, theirs)
    failures = [CopyError("no", Where("t.example"), transient)]

    async def manifest(ref: Reference) -> RawManifest:
        if ref.place == TARGET.place and failures:
            raise failures.pop()
        return await Registries.manifest(registries, ref)

    registries.manifest = manifest  # type: ignore[method-assign]
    seen = await Asking(registries, retries=1, held=holding())()
    assert seen.unchanged == (theirs.digest if transient else None)


async def test_another_image_is_not_unchanged() -> None:
    registries = Registries()
    registries.put(SOURCE, image("c"))
    registries.put(TARGET, image("d"))
    asking = Asking(registries)
    seen = await asking()
    assert seen == Sighting(image("c").digest, settled=True, unchanged=None, target_asked=True)
    assert asking.notes == [], "it takes the place of no index"


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


async def test_a_platform_in_place_is_unchanged_for_one_reading_of_the_sources_index() -> None:
    registries, whole = Registries(), index(amd64=image("amd"), arm64=image("arm"))
    registries.put(SOURCE, image("amd"))
    registries.put(SOURCE, whole)
    registries.put(TARGET, image("amd"))
    assert (await Asking(registries)()).unchanged == image("amd").digest
    assert registries.asked == ["HEAD s.example", "HEAD t.example", "GET s.example"]


async def test_that_one_platform_takes_the_place_of_an_index_is_said() -> None:
    registries, whole = Registries(), index(amd64=image("amd"), arm64=image("arm"))
    registries.put(SOURCE, whole)
    asking = Asking(registries)
    await asking(ARM64)
    assert asking.notes == []
    registries.put(TARGET, whole)
    await asking(ARM64)
    assert asking.notes == [
        "one platform takes the place of the index that the target had under this tag"
    ]


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


async def test_what_keeps_all_platforms_is_said_once_where_nobody_asked_for_an_engine() -> None:
    registries = Registries()
    registries.put(SOURCE, index(amd64=image("amd"), arm64=image("arm")))
    plain, advising = Asking(registries), Asking(registries, advise=True)
    for _ in range(2):
        await plain()
        await advising()
    advice = "; --via direct copies all of them, and moves no layer that the target has"
    assert advising.notes == [plain.notes[0] + advice]


async def test_a_platform_that_the_index_lacks_is_told_with_those_it_has() -> None:
    registries = Registries()
    registries.put(SOURCE, index(amd64=image("amd"), s390x=image("s")))
    with pytest.raises(errors.NoSuchPlatform, match="it has linux/amd64, linux/s390x") as caught:
        await Asking(registries)(ARM64)
    assert caught.value.where == Where("s.example", str(SOURCE), caught.value.where.step)


async def test_an_index_of_nothing_is_told_as_one() -> None:
    registries = Registries()
    registries.put(SOURCE, index())
    with pytest.raises(errors.NoSuchPlatform, match="it has none at all"):
        await Asking(registries)()


async def test_an_index_of_one_platform_is_copied_as_that_without_a_word() -> None:
    registries = Registries()
    registries.put(SOURCE, index(amd64=image("amd")))
    asking = Asking(registries)
    assert (await asking()).digest == image("amd").digest
    assert asking.notes == []


class Announcing(Registries):
    """They announce what `host` has as what it is not."""

    def __init__(self, media_type: str, host: Place) -> None:
        super().__init__()
        self._media_type, self._host = media_type, host

    async def resolve(self, ref: Reference) -> Descriptor | None:
        found = await super().resolve(ref)
        wrong = found and Descriptor(self._media_type, found.digest, found.size)
        return wrong if ref.place == self._host else found


@pytest.mark.parametrize(("odd", "plain"), [(SOURCE, TARGET), (TARGET, SOURCE)])
async def test_what_is_announced_as_an_image_and_is_an_index_is_not_unchanged(
    odd: Reference, plain: Reference
) -> None:
    registries = Announcing(OCI_MANIFEST, odd.place)
    registries.put(odd, index(amd64=image("c")))
    registries.put(plain, image("c"))
    assert (await Asking(registries)()).unchanged is None


async def test_what_is_announced_as_an_index_and_is_an_image_is_refused() -> None:
    registries = Announcing(OCI_INDEX, SOURCE.place)
    registries.put(SOURCE, image("c"))
    with pytest.raises(errors.UnsupportedManifest, match="announced as an index, but is none"):
        await Asking(registries)()


async def test_a_tag_that_does_not_exist_is_not_found() -> None:
    with pytest.raises(
        errors.NotFound, match=r"s\.example/a has no tag 1 \(resolve at s\.example\)"
    ):
        await Asking(Registries())()


@pytest.mark.parametrize("at_target", [True, False], ids=["target has it", "target is empty"])
async def test_a_single_image_of_another_platform_is_neither_pulled_nor_unchanged(
    at_target: bool,
) -> None:
    registries, only = Registries(), image("c")
    registries.put(SOURCE, only)
    if at_target:
        registries.put(TARGET, only)
    digest = str(Digest.of(b"c"))
    registries.configs[digest] = b'{"os": "linux", "architecture": "amd64"}'
    with pytest.raises(errors.NoSuchPlatform, match="an image for linux/amd64, not for linux/arm"):
        await Asking(registries)(ARM64)
    assert (await Asking(registries)(AMD64)).unchanged == (only.digest if at_target else None)
    registries.configs[digest] = b"{}"
    await Asking(registries)(ARM64)  # it does not say: the engine will


def failing(host: str, *, transient: bool) -> Callable[[], CopyError]:
    return lambda: errors.RegistryUnavailable("no route to it", Where(host), transient=transient)


async def test_a_source_out_of_reach_is_left_to_the_engine_and_asked_no_more() -> None:
    registries = Registries(failing={"s.example": failing("s.example", transient=False)})
    asking = Asking(registries)
    for _ in range(3):
        assert await asking() == Sighting(None, settled=False, target_asked=False)
    assert sorted(registries.asked) == ["HEAD s.example", "HEAD t.example"]  # both at once
    assert len(asking.notes) == 1
    assert "pulls by tag" in asking.notes[0]


async def test_source_and_target_are_asked_at_once() -> None:
    registries = Registries()
    registries.put(SOURCE, image("c"))
    met = {"s.example": anyio.Event(), "t.example": anyio.Event()}

    class Meeting(Registries):
        async def resolve(self, ref: Reference) -> Descriptor | None:
            met[str(ref.place)].set()
            for event in met.values():  # nobody goes on before the other one is asked, too
                await event.wait()
            return await registries.resolve(ref)

    with anyio.fail_after(10):
        assert (await Asking(Meeting())()).digest == image("c").digest


async def test_if_neither_can_be_asked_the_source_is_told_first_and_nothing_in_a_group() -> None:
    failing_both: dict[str, Callable[[], CopyError]] = {
        "s.example": lambda: RateLimited("slower", Where("s.example")),
        "t.example": lambda: AuthenticationFailed("no", Where("t.example")),
    }
    with pytest.raises(RateLimited):
        await Asking(Registries(failing=failing_both))()


async def test_one_bad_answer_costs_only_its_own_image_and_three_in_a_row_the_host() -> None:
    registries = Registries()
    registries.put(SOURCE, image("c"))
    registries.put(TARGET, image("c"))
    asking = Asking(registries, retries=1)
    down = failing("s.example", transient=True)
    for _ in range(3):
        registries.failing["s.example"] = down
        for _ in range(2):
            assert (await asking()).unchanged is None
        del registries.failing["s.example"]
        assert (await asking()).unchanged == image("c").digest
    registries.failing["s.example"] = down
    for _ in range(3):
        await asking()
    asked = len(registries.asked)
    await asking()
    assert len(registries.asked) == asked
    assert len(asking.notes) == 1


async def test_a_target_that_says_it_has_nothing_has_answered_and_is_asked_on() -> None:
    registries = Registries()
    registries.put(SOURCE, image("c"))
    asking = Asking(registries, held=holding())
    down = failing("t.example", transient=True)
    for _ in range(3):
        registries.failing["t.example"] = down
        await asking()
        del registries.failing["t.example"]
        assert (await asking()).target_asked


async def test_one_connection_that_was_not_taken_is_no_verdict_on_the_host() -> None:
    registries = Registries()
    registries.put(SOURCE, image("c"))
    registries.put(TARGET, image("c"))
    asking = Asking(registries)
    registries.failing["s.example"] = lambda: errors.TimedOut("no connection", Where("s.example"))
    assert (await asking()).unchanged is None
    del registries.failing["s.example"]
    assert (await asking()).unchanged == image("c").digest


@pytest.mark.parametrize("kind", [errors.NotFound, errors.PermissionDenied, errors.TimedOut])
async def test_a_config_that_cannot_be_had_is_left_to_the_engine(kind: type[CopyError]) -> None:
    class WithoutConfigs(Registries):
        async def config(self, ref: Reference) -> bytes:
            raise kind("not from here", Where("s.example"))

    registries = WithoutConfigs()
    registries.put(SOURCE, image("c"))
    asking = Asking(registries)
    assert await asking(AMD64) == Sighting(image("c").digest)
    assert asking.notes == []


@pytest.mark.parametrize("kind", [AuthenticationFailed, RateLimited])
async def test_a_config_that_asks_for_a_login_or_for_patience_is_not_left_to_the_engine(
    kind: type[CopyError],
) -> None:
    class WithoutConfigs(Registries):
        async def config(self, ref: Reference) -> bytes:
            raise kind("not now", Where("s.example"))

    registries = WithoutConfigs()
    registries.put(SOURCE, image("c"))
    with pytest.raises(kind):
        await Asking(registries)(AMD64)


@pytest.mark.parametrize("transient", [False, True])
async def test_a_target_that_does_not_show_its_manifest_is_copied_to_unless_it_may_be_asked_again(
    transient: bool,
) -> None:
    class Hiding(Registries):
        refusals = 1

        async def manifest(self, ref: Reference) -> RawManifest:
            if ref.place == TARGET.place and self.refusals:
                self.refusals -= 1
                raise CopyError("no", Where("t.example"), transient)
            return await super().manifest(ref)

    registries, theirs = Hiding(), image("c", "packed anew")
    registries.put(SOURCE, image("c"))
    registries.put(TARGET, theirs)
    seen = await Asking(registries, retries=1)()
    assert seen.unchanged == (theirs.digest if transient else None)


async def test_a_target_out_of_reach_is_said_once_and_copied_to_all_the_same() -> None:
    registries = Registries(failing={"t.example": failing("t.example", transient=False)})
    registries.put(SOURCE, image("c"))
    asking = Asking(registries)
    assert await asking() == Sighting(image("c").digest, target_asked=False)
    assert await asking() == Sighting(image("c").digest, target_asked=False)
    assert registries.asked.count("HEAD t.example") == 1
    assert len(asking.notes) == 1


async def test_a_target_whose_certificate_we_do_not_trust_is_said_with_what_helps() -> None:
    unknown = errors.TlsError("t.example shows another", Where("t.example"))
    registries = Registries(failing={"t.example": lambda: unknown})
    registries.put(SOURCE, image("c"))
    asking = Asking(registries)
    await asking()
    (note,) = asking.notes
    assert "nothing can be skipped as unchanged. Trust its CA: --ca-file FILE" in note


async def test_a_failure_of_neither_registry_is_not_asked_again_for_ever() -> None:
    registries = Registries(failing={"s.example": failing("elsewhere.example", transient=False)})
    with pytest.raises(errors.RegistryUnavailable):
        await Asking(registries)()


async def test_a_target_that_wants_us_slower_is_waited_for_and_not_copied_to_again() -> None:
    registries = Registries()
    registries.put(SOURCE, image("c"))
    slow = errors.RateLimited("429", Where("t.example"), transient=True)
    registries.failing["t.example"] = lambda: slow
    with pytest.raises(errors.RateLimited):
        await Asking(registries)()


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


async def test_a_target_with_an_odd_answer_is_copied_to_without_asking_it_again() -> None:
    odd = CopyError("an odd answer", Where("t.example"), transient=True)
    registries = Registries(failing={"t.example": lambda: odd})
    registries.put(SOURCE, image("c"))
    assert await Asking(registries, retries=1)() == Sighting(image("c").digest)
    assert registries.asked.count("HEAD t.example") == 1


@pytest.mark.parametrize(
    "body", [{"manifests": 1}, {"layers": []}, {"manifests": [], "config": {}}]
)
async def test_an_index_that_is_none_is_refused(body: dict[str, Any]) -> None:
    registries = Registries()
    registries.put(SOURCE, raw(OCI_INDEX, body))
    with pytest.raises(errors.UnsupportedManifest, match=r"s\.example/a@sha256:\w+: "):
        await Asking(registries)()
