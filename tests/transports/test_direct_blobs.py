"""Each distinct blob moves once to a target, with small true registries and random schedules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from enum import Enum

import anyio
import pytest
from anyio import CancelScope, Event, create_task_group, wait_all_tasks_blocked
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from parts.turns import cancel_after, nobody_waits_for_ever, turns

from asyncsync.model.digest import Digest
from asyncsync.model.errors import CopyError, NotFound, Where
from asyncsync.model.place import Registry
from asyncsync.model.reference import Reference
from asyncsync.transports.direct.blobs import Blobs, Brought, Mover, Need
from asyncsync.transports.direct.lanes import Lanes

TARGET, OTHER = Registry("target.example"), Registry("other.example")
LAYER, CONFIG = Digest.of(b"layer"), Digest.of(b"config")
MIB = 1024 * 1024


def need(
    repository: str,
    digest: Digest = LAYER,
    size: int = 2 * MIB,
    source: str = "team/image",
    place: Registry = TARGET,
) -> Need:
    return Need(
        Reference(Registry("source.example"), source, digest=digest),
        Reference(place, repository, digest=digest),
        size,
    )


@dataclass
class Registries:
    """Targets that hold what was brought to them, and mount it between their repositories.

    While the gate is shut, moves are under way and do not end. Sources named in `broken` fail.
    """

    mounting: bool = True
    after_manifest: bool = False
    gate: Event | None = None
    broken: set[str] = field(default_factory=set)
    blobs: set[Reference] = field(default_factory=set)
    manifests: set[tuple[Registry, str]] = field(default_factory=set)
    moving: list[Need] = field(default_factory=list)
    moved: list[Need] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)  # mounts: from, to

    async def mount(self, need: Need, origin: str) -> bool:
        self.asked.append((origin, need.target.repository))
        await checkpoint()
        place = need.target.place
        has_it = Reference(place, origin, digest=need.target.digest) in self.blobs
        stands = not self.after_manifest or (place, origin) in self.manifests
        if self.mounting and has_it and stands:
            self.blobs.add(need.target)
            return True
        return False

    async def move(self, need: Need) -> bool:
        self.moving.append(need)
        try:
            await checkpoint()
            if self.gate is not None:
                await self.gate.wait()
        finally:
            self.moving.remove(need)
        if need.target in self.blobs:
            return False
        if need.source.repository in self.broken:
            raise NotFound("no such blob", Where(str(need.source.place)))
        self.blobs.add(need.target)
        self.moved.append(need)
        return True

    def mounts_after_manifest(self, place: Registry) -> bool:
        return self.after_manifest


async def bring_into(
    ends: dict[str, Brought | CopyError],
    blobs: Blobs,
    registries: Mover,
    name: str,
    wanted: Need,
) -> None:
    try:
        ends[name] = await blobs.bring(wanted, registries)
    except CopyError as error:
        ends[name] = error


async def test_a_blob_that_many_images_need_is_moved_once_and_mounted_elsewhere() -> None:
    registries = Registries(gate=Event())
    blobs = Blobs(Lanes())
    ends: dict[str, Brought | CopyError] = {}
    async with create_task_group() as group:
        for repository in ("a", "b", "c"):
            group.start_soon(bring_into, ends, blobs, registries, repository, need(repository))
            await wait_all_tasks_blocked()
        assert registries.moving == [need("a")]
        assert not registries.asked
        assert registries.gate is not None
        registries.gate.set()
    assert ends == {"a": Brought.MOVED, "b": Brought.SHARED, "c": Brought.SHARED}
    assert registries.moved == [need("a")]
    assert {target.repository for target in registries.blobs} == {"a", "b", "c"}
    assert registries.asked == [("a", "b"), ("a", "c")]


async def test_images_that_share_a_repository_ask_nobody_for_what_one_of_them_brought() -> None:
    registries = Registries(gate=Event())
    blobs = Blobs(Lanes())
    ends: dict[str, Brought | CopyError] = {}
    async with create_task_group() as group:
        for name in ("first", "second"):
            group.start_soon(bring_into, ends, blobs, registries, name, need("a", source=name))
            await wait_all_tasks_blocked()
        assert registries.gate is not None
        registries.gate.set()
    assert ends == {"first": Brought.MOVED, "second": Brought.SHARED}
    assert await blobs.bring(need("a", source="third"), registries) is Brought.SHARED
    assert len(registries.moved) == 1
    assert not registries.asked


async def test_what_the_target_had_is_not_moved_and_can_be_mounted() -> None:
    registries = Registries(blobs={need("a").target})
    blobs = Blobs(Lanes())
    assert await blobs.bring(need("a"), registries) is Brought.THERE
    assert await blobs.bring(need("b"), registries) is Brought.SHARED
    assert not registries.moved


async def test_two_targets_each_get_the_blob_moved() -> None:
    registries = Registries()
    blobs = Blobs(Lanes())
    assert await blobs.bring(need("a"), registries) is Brought.MOVED
    assert await blobs.bring(need("a", place=OTHER), registries) is Brought.MOVED
    assert not registries.asked


async def test_who_waits_for_another_image_keeps_no_place_from_other_blobs() -> None:
    registries = Registries(gate=Event())
    blobs = Blobs(Lanes(large=2))
    ends: dict[str, Brought | CopyError] = {}
    async with create_task_group() as group:
        for repository in ("a", "b", "c"):
            group.start_soon(bring_into, ends, blobs, registries, repository, need(repository))
            await wait_all_tasks_blocked()
        group.start_soon(bring_into, ends, blobs, registries, "d", need("d", CONFIG))
        await wait_all_tasks_blocked()
        assert registries.moving == [need("a"), need("d", CONFIG)]
        assert registries.gate is not None
        registries.gate.set()


async def test_a_blob_that_one_image_cannot_bring_comes_by_another_from_its_own_source() -> None:
    registries = Registries(gate=Event(), broken={"lying"})
    blobs = Blobs(Lanes())
    ends: dict[str, Brought | CopyError] = {}
    wanted = {
        "first": need("a", source="lying"),
        "second": need("a", source="honest"),
        "third": need("b", source="lying"),
    }
    async with create_task_group() as group:
        for name, one in wanted.items():
            group.start_soon(bring_into, ends, blobs, registries, name, one)
            await wait_all_tasks_blocked()
        assert registries.gate is not None
        registries.gate.set()
    assert isinstance(ends.pop("first"), NotFound)
    assert ends == {"second": Brought.MOVED, "third": Brought.SHARED}
    assert registries.moved == [wanted["second"]]


async def test_if_the_image_that_moves_a_blob_is_cancelled_one_that_waits_goes_on() -> None:
    registries = Registries(gate=Event())
    blobs = Blobs(Lanes())
    ends: dict[str, Brought | CopyError] = {}
    first = CancelScope()

    async def bring_first() -> None:
        with first:
            await blobs.bring(need("a"), registries)

    async with create_task_group() as group:
        group.start_soon(bring_first)
        await wait_all_tasks_blocked()
        for repository in ("b", "c"):
            group.start_soon(bring_into, ends, blobs, registries, repository, need(repository))
            await wait_all_tasks_blocked()
        first.cancel()
        await wait_all_tasks_blocked()
        assert registries.moving == [need("b")]
        assert registries.gate is not None
        registries.gate.set()
    assert ends == {"b": Brought.MOVED, "c": Brought.SHARED}


async def test_images_that_are_cancelled_while_they_wait_change_nothing_for_others() -> None:
    registries = Registries(gate=Event())
    blobs = Blobs(Lanes())
    ends: dict[str, Brought | CopyError] = {}
    waiting = CancelScope()

    async def wait_in_scope() -> None:
        with waiting:
            await blobs.bring(need("b"), registries)

    async with create_task_group() as group:
        group.start_soon(bring_into, ends, blobs, registries, "a", need("a"))
        await wait_all_tasks_blocked()
        group.start_soon(wait_in_scope)
        await wait_all_tasks_blocked()
        group.start_soon(bring_into, ends, blobs, registries, "c", need("c"))
        await wait_all_tasks_blocked()
        waiting.cancel()
        await wait_all_tasks_blocked()
        assert registries.gate is not None
        registries.gate.set()
    assert ends == {"a": Brought.MOVED, "c": Brought.SHARED}
    assert await blobs.bring(need("b"), registries) is Brought.SHARED


async def test_a_target_that_mounts_nothing_gets_a_blob_once_a_repository_and_is_asked_once() -> (
    None
):
    registries = Registries(mounting=False)
    blobs = Blobs(Lanes())
    for repository in ("a", "b", "c"):
        assert await blobs.bring(need(repository), registries) is Brought.MOVED
        assert await blobs.bring(need(repository), registries) is Brought.SHARED
    assert await blobs.bring(need("a", CONFIG), registries) is Brought.MOVED
    assert await blobs.bring(need("b", CONFIG), registries) is Brought.MOVED
    assert registries.asked == [("a", "b")]


async def test_repositories_of_a_target_that_mounts_nothing_get_the_blob_at_the_same_time() -> None:
    registries = Registries(mounting=False)
    blobs = Blobs(Lanes())
    await blobs.bring(need("a"), registries)
    registries.gate = Event()
    ends: dict[str, Brought | CopyError] = {}
    async with create_task_group() as group:
        for repository in ("b", "b", "c"):
            group.start_soon(bring_into, ends, blobs, registries, repository, need(repository))
            await wait_all_tasks_blocked()
        assert registries.moving == [need("b"), need("c")]
        registries.gate.set()


async def test_a_target_that_has_mounted_is_asked_again_after_it_refused_one_blob() -> None:
    registries = Registries()
    blobs = Blobs(Lanes())
    await blobs.bring(need("a"), registries)
    assert await blobs.bring(need("b"), registries) is Brought.SHARED
    registries.mounting = False
    assert await blobs.bring(need("c"), registries) is Brought.MOVED
    registries.mounting = True
    assert await blobs.bring(need("d"), registries) is Brought.SHARED


async def test_where_mounting_needs_a_manifest_only_repositories_with_one_are_mounted_from() -> (
    None
):
    registries = Registries(after_manifest=True)
    blobs = Blobs(Lanes())
    for repository in ("a", "b"):
        assert await blobs.bring(need(repository), registries) is Brought.MOVED
    registries.manifests.add((TARGET, "b"))
    blobs.manifest_stands(TARGET, "b", [LAYER, CONFIG])
    assert await blobs.bring(need("c"), registries) is Brought.SHARED
    assert registries.asked == [("b", "c")]


async def test_blobs_of_a_manifest_that_stood_before_the_run_are_mounted_from_there() -> None:
    registries = Registries(blobs={need("old").target})
    blobs = Blobs(Lanes())
    blobs.manifest_stands(TARGET, "old", [LAYER])
    assert await blobs.bring(need("new"), registries) is Brought.SHARED
    assert not registries.moved


async def test_a_blob_that_the_target_turns_out_to_lack_is_moved_again_and_not_mounted() -> None:
    registries = Registries()
    blobs = Blobs(Lanes())
    await blobs.bring(need("a"), registries)
    await blobs.bring(need("b"), registries)
    registries.blobs.remove(need("b").target)
    blobs.forget(TARGET, "b", LAYER)
    assert await blobs.bring(need("b"), registries) is Brought.MOVED
    assert await blobs.bring(need("b"), registries) is Brought.SHARED
    assert registries.asked == [("a", "b")]


def test_a_blob_is_known_in_the_repositories_that_have_it_and_in_no_other() -> None:
    blobs, here, elsewhere = Blobs(Lanes()), need("one").target, need("two").target
    assert not blobs.known(here)
    blobs.manifest_stands(TARGET, "one", [LAYER])
    assert blobs.known(here)
    assert not blobs.known(elsewhere)
    assert not blobs.known(need("one", place=OTHER).target)
    blobs.forget(TARGET, "one", LAYER)
    assert not blobs.known(here)


def test_a_need_names_one_blob_by_its_digest() -> None:
    layer, config = need("a", LAYER), need("a", CONFIG)
    with pytest.raises(ValueError, match="do not name one blob"):
        Need(layer.source, config.target, 1)
    tagged = Reference(TARGET, "a", "latest")
    with pytest.raises(ValueError, match="do not name one blob"):
        Need(tagged, tagged, 1)


class Fate(Enum):
    DONE = "done"
    FAILS = "fails"
    LANDS_UNSEEN = "the target has it, then the connection breaks"


class Mount(Enum):
    MOUNTED = "mounted"
    REFUSED = "refused"
    FAILS = "fails"


@dataclass(frozen=True)
class Wish:
    """What one image needs, and what would become of it as a mover."""

    digest: int
    repository: int
    place: Registry
    size: int
    begins: int  # turns of the loop before it asks
    lasts: int  # turns of its move
    fate: Fate = Fate.DONE
    mount: Mount = Mount.MOUNTED
    cancelled: int | None = None  # turns after it asked
    lost: bool = False  # once brought, the target turns out to lack it, and it is brought again


calm_wishes = st.builds(
    Wish,
    digest=st.integers(0, 2),
    repository=st.integers(0, 3),
    place=st.sampled_from([TARGET, OTHER]),
    size=st.sampled_from([1, 2 * MIB, 3 * MIB]),
    begins=st.integers(0, 8),
    lasts=st.integers(0, 5),
)
wishes = st.builds(
    Wish,
    digest=st.integers(0, 2),
    repository=st.integers(0, 3),
    place=st.sampled_from([TARGET, TARGET, OTHER]),
    size=st.sampled_from([1, 2 * MIB, 3 * MIB]),
    begins=st.integers(0, 8),
    lasts=st.integers(0, 5),
    fate=st.sampled_from([Fate.DONE, *Fate]),
    mount=st.sampled_from([Mount.MOUNTED, *Mount]),
    cancelled=st.none() | st.integers(0, 12),
)
LARGE_AT_ONCE, SMALL_AT_ONCE = 2, 2


class Scripted:
    """Registries whose moves and mounts follow the wishes, and who check what they are asked."""

    def __init__(self, script: Sequence[Wish], *, after_manifest: bool) -> None:
        self._after_manifest = after_manifest
        self.wishes: dict[Need, Wish] = {
            Need(
                # Each image has a source of its own, by which its errors are known.
                Reference(Registry("source.example"), f"image-{n}", digest=digest),
                Reference(wish.place, f"repository-{wish.repository}", digest=digest),
                wish.size,
            ): wish
            for n, wish in enumerate(script)
            for digest in [Digest.of(bytes([wish.digest]))]
        }
        self.blobs: set[Reference] = set()
        self.ever: set[Reference] = set()  # had at some time
        self.in_manifests: set[Reference] = set()
        self.moving: list[Need] = []
        self.moved: Counter[Reference] = Counter()  # bytes arrived, told or not
        self.told: Counter[Reference] = Counter()  # moves and mounts that ended well

    def mounts_after_manifest(self, place: Registry) -> bool:
        return self._after_manifest

    async def mount(self, need: Need, origin: str) -> bool:
        source = Reference(need.target.place, origin, digest=need.target.digest)
        assert source in self.blobs, "asked to mount from where it is not"
        assert not self._after_manifest or source in self.in_manifests
        await checkpoint()
        match self.wishes[need].mount:
            case Mount.FAILS:
                raise CopyError("broken", Where(need.source.repository))
            case Mount.MOUNTED:
                self._take(need.target)
                self.told[need.target] += 1
                return True
        return False

    async def move(self, need: Need) -> bool:
        wish = self.wishes[need]
        self._check_alone(need)
        self.moving.append(need)
        self._check_lanes()
        try:
            if need.target in self.blobs:
                await checkpoint()
                self.told[need.target] += 1
                return False
            await turns(wish.lasts)
            where = Where(need.source.repository)
            if wish.fate is Fate.FAILS:
                raise CopyError("broken", where)
            self._take(need.target)
            self.moved[need.target] += 1
            await checkpoint()  # cancelled here, nobody knows that the target has it
            if wish.fate is Fate.LANDS_UNSEEN:
                raise CopyError("broken at the end", where)
            self.told[need.target] += 1
            return True
        finally:
            self.moving.remove(need)

    def lose(self, target: Reference) -> None:
        self.blobs.discard(target)
        self.in_manifests.discard(target)
        del self.moved[target], self.told[target]

    def _take(self, target: Reference) -> None:
        self.blobs.add(target)
        self.ever.add(target)

    def _check_alone(self, need: Need) -> None:
        for other in self.moving:
            assert other.target != need.target, "two movers into one repository"
            if place_and_digest(other.target) == place_and_digest(need.target):
                had = {place_and_digest(target) for target in self.ever}
                assert place_and_digest(need.target) in had, "two movers, and the target had it not"

    def _check_lanes(self) -> None:
        small = sum(need.size == 1 for need in self.moving)
        assert small <= SMALL_AT_ONCE
        assert len(self.moving) - small <= LARGE_AT_ONCE


def place_and_digest(target: Reference) -> tuple[Registry, Digest | None]:
    return target.place, target.digest


async def play(script: Sequence[Wish], *, after_manifest: bool = False) -> Scripted:
    """Bring all that the script wishes; check that each image has the end that is its own."""
    registries = Scripted(script, after_manifest=after_manifest)
    lanes = Lanes(LARGE_AT_ONCE, SMALL_AT_ONCE)
    blobs = Blobs(lanes)
    ends: dict[Need, Brought | CopyError | CancelScope] = {}

    async def image(group: TaskGroup, need: Need, wish: Wish) -> None:
        await turns(wish.begins)
        with CancelScope() as scope:
            if wish.cancelled is not None:
                group.start_soon(cancel_after, wish.cancelled, scope)
            try:
                ends[need] = await blobs.bring(need, registries)
                if wish.lost:
                    forget(need.target)
                    ends[need] = await blobs.bring(need, registries)
            except CopyError as error:
                ends[need] = error
                return
            assert need.target in registries.blobs
            if wish.digest and (digest := need.target.digest):  # then its image is complete
                registries.in_manifests.add(need.target)
                blobs.manifest_stands(wish.place, need.target.repository, [digest])
        if scope.cancelled_caught:
            ends[need] = scope

    def forget(target: Reference) -> None:
        assert target.digest is not None
        registries.lose(target)
        blobs.forget(target.place, target.repository, target.digest)

    async with nobody_waits_for_ever() as group:
        for need, wish in registries.wishes.items():
            group.start_soon(image, group, need, wish)
    async with nobody_waits_for_ever(), AsyncExitStack() as all_places:
        for size in [2 * MIB] * LARGE_AT_ONCE + [1] * SMALL_AT_ONCE:
            await all_places.enter_async_context(lanes.place(size))

    assert ends.keys() == registries.wishes.keys()
    for need, end in ends.items():
        wish = registries.wishes[need]
        match end:
            case CopyError():
                assert end.where.registry == need.source.repository
                assert wish.fate is not Fate.DONE or wish.mount is Mount.FAILS
            case CancelScope():
                assert wish.cancelled is not None
    assert not registries.moving
    assert all(times == 1 for times in registries.told.values()), "asked for what it had confirmed"
    assert all(times == 1 for times in registries.moved.values()), "sent what was there"
    return registries


LOOPS = pytest.mark.parametrize("uvloop", [False, True], ids=["asyncio", "uvloop"])


@LOOPS
@settings(max_examples=400, deadline=None)
@given(script=st.lists(wishes, max_size=20), after_manifest=st.booleans())
def test_whatever_fails_or_is_cancelled_each_image_has_its_own_end_and_no_blob_two_movers(
    script: list[Wish], after_manifest: bool, uvloop: bool
) -> None:
    async def main() -> None:
        await play(script, after_manifest=after_manifest)

    anyio.run(main, backend_options={"use_uvloop": uvloop})


@LOOPS
@settings(max_examples=200, deadline=None)
@given(script=st.lists(st.builds(replace, wishes, lost=st.booleans()), max_size=20))
def test_blobs_that_the_target_loses_are_brought_again_whatever_fails_or_is_cancelled(
    script: list[Wish], uvloop: bool
) -> None:
    async def main() -> None:
        await play(script)

    anyio.run(main, backend_options={"use_uvloop": uvloop})


@LOOPS
@settings(max_examples=200, deadline=None)
@given(script=st.lists(calm_wishes, max_size=20))
def test_where_nothing_fails_and_the_target_mounts_every_distinct_blob_is_moved_exactly_once(
    script: list[Wish], uvloop: bool
) -> None:
    async def main() -> None:
        registries = await play(script)
        moves = Counter(place_and_digest(target) for target in registries.moved)
        distinct = {place_and_digest(need.target) for need in registries.wishes}
        assert moves == dict.fromkeys(distinct, 1)

    anyio.run(main, backend_options={"use_uvloop": uvloop})


@LOOPS
@settings(max_examples=100, deadline=None)
@given(script=st.lists(wishes, max_size=20), stopped=st.integers(0, 20))
def test_a_run_that_is_stopped_leaves_nobody_waiting(
    script: list[Wish], stopped: int, uvloop: bool
) -> None:
    async def main() -> None:
        registries = Scripted(script, after_manifest=False)
        lanes = Lanes(LARGE_AT_ONCE, SMALL_AT_ONCE)
        blobs = Blobs(lanes)
        ends: dict[str, Brought | CopyError] = {}
        async with nobody_waits_for_ever() as group:
            for n, need in enumerate(registries.wishes):
                group.start_soon(bring_into, ends, blobs, registries, str(n), need)
            await cancel_after(stopped, group.cancel_scope)
        async with nobody_waits_for_ever():
            for need, wish in registries.wishes.items():  # the table is as good as before
                if wish.fate is Fate.DONE and wish.mount is not Mount.FAILS:
                    await blobs.bring(need, registries)
                    assert need.target in registries.blobs

    anyio.run(main, backend_options={"use_uvloop": uvloop})
