"""A copy through an engine: what it leaves behind, whom it believes, what it tries again."""

from __future__ import annotations

import base64
import json
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest
from aiohttp import web
from parts.manifests import Registries, image, index
from parts.scripted_engine import DIGEST, PULLED, PUSHED, ScriptedEngine
from scripted import manifest_answer
from scripted import scripted as serving

from asyncsync.credentials import Credentials
from asyncsync.model import errors
from asyncsync.model.access import Access, Credential
from asyncsync.model.digest import Digest
from asyncsync.model.errors import CopyError, Where
from asyncsync.model.events import Advised, BytesMoved, Event, Noted, StepStarted, Waited, ignore
from asyncsync.model.job import CopyJob, Step
from asyncsync.model.manifest import OCI_MANIFEST, RawManifest
from asyncsync.model.outcome import Outcome, Status
from asyncsync.model.platform import Platform
from asyncsync.model.reference import Reference
from asyncsync.model.spec import Position
from asyncsync.reporting.causes import causes
from asyncsync.retrying import Retrying
from asyncsync.scheduling import running
from asyncsync.stores.registry.client import RegistryClient
from asyncsync.transports.engine import Engine, EngineTransport, connected
from asyncsync.transports.engine.finding import Endpoint, open_client
from asyncsync.transports.engine.queue import Queue
from asyncsync.transports.engine.wire import Idle

SOURCE, TARGET = Reference.parse("s.example/a:1"), Reference.parse("t.example/team/a:1")
AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
PULL_NAME = f"s.example/a@{image('c').digest}"
CONTAINERD = {"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}
DOWNLOADING = {"status": "Downloading", "id": "layer", "progressDetail": {"current": 5, "total": 9}}


def job(source: Reference = SOURCE, target: Reference = TARGET, *platforms: Platform) -> CopyJob:
    return CopyJob(source, target, platforms, Position("images.yaml", 1))


async def no_wait(seconds: float) -> None: ...


class Stage:
    """A scripted engine, registries that have the source, and a transport between them."""

    def __init__(self, engine: ScriptedEngine, who: dict[str, Credential] | None = None) -> None:
        self.engine, self.registries = engine, Registries()
        self.registries.put(SOURCE, image("c"))
        self.credentials = Credentials.load(who or {}, docker_config=Path("/nonexistent"))
        self.events: list[Event] = []

    @asynccontextmanager
    async def transport(
        self, *, clean: bool = False, retries: int = 0
    ) -> AsyncIterator[EngineTransport]:
        async with connected(self.engine.url) as (engine, _):
            yield EngineTransport(
                engine,
                self.registries,
                self.credentials,
                retrying=Retrying(retries, sleep=no_wait),
                clean=clean,
            )

    def made(self, engine: Engine, retries: int = 0) -> EngineTransport:
        retrying = Retrying(retries, sleep=no_wait)
        return EngineTransport(engine, self.registries, self.credentials, retrying=retrying)

    async def copy(
        self, *jobs: CopyJob, clean: bool = False, retries: int = 0, concurrency: int = 1
    ) -> list[Outcome]:
        async with (
            self.transport(clean=clean, retries=retries) as transport,
            running(
                jobs or (job(),), transport, concurrency=concurrency, observe=self.events.append
            ) as run,
        ):
            async for _ in run:
                pass
        return list(run.told)


@pytest.fixture
def scripted() -> AsyncIterator[ScriptedEngine]:
    with ScriptedEngine() as scripted:
        yield scripted


@pytest.fixture
def stage(scripted: ScriptedEngine) -> Stage:
    return Stage(scripted)


async def test_a_copy_is_what_the_target_itself_confirms(stage: Stage) -> None:
    (outcome,) = await stage.copy()
    assert list(outcome.steps) == ["resolve", "pull", "tag", "push", "verify", "clean"]
    assert (outcome.status, str(outcome.digest)) == (Status.COPIED, DIGEST)
    assert sum(outcome.steps.values()) <= outcome.seconds
    assert stage.engine.images == {
        PULL_NAME: f"id of {PULL_NAME}",
        str(TARGET): f"id of {PULL_NAME}",
    }


@pytest.mark.parametrize("keeps", [False, True], ids=["packs anew", "keeps manifests"])
async def test_an_engine_that_packs_anew_tells_what_it_holds_before_a_source_is_read(
    stage: Stage, keeps: bool
) -> None:
    stage.registries.put(TARGET, image("c", "packed anew"))
    stage.engine.images[PULL_NAME] = str(Digest.of(b"c"))
    stage.engine.info = CONTAINERD if keeps else {}
    (outcome,) = await stage.copy()
    assert outcome.status is Status.UNCHANGED
    assert bool(stage.engine.asked(f"GET /v1.41/images/{PULL_NAME}")) is not keeps
    assert ("GET s.example" in stage.registries.asked) is keeps


async def test_a_copy_that_waits_for_no_other_says_nothing_of_waiting(stage: Stage) -> None:
    await stage.copy()
    assert not [event for event in stage.events if isinstance(event, Waited)]


@pytest.mark.parametrize(
    ("clean", "platforms", "looks"),
    [
        (False, (), [str(TARGET)]),
        (True, (), [PULL_NAME, str(TARGET)]),
        (False, (AMD64,), [PULL_NAME, str(TARGET)]),
    ],
    ids=["plain", "to clean", "to check its platform"],
)
async def test_the_engine_is_not_asked_what_nobody_wants_to_know(
    stage: Stage, clean: bool, platforms: tuple[Platform, ...], looks: list[str]
) -> None:
    stage.registries.put(SOURCE, index(amd64=image("c")))
    await stage.copy(job(SOURCE, TARGET, *platforms), clean=clean)
    asked = stage.engine.asked("GET /v1.41/images/")
    assert asked == [f"GET /v1.41/images/{name}/json" for name in looks]


@pytest.mark.parametrize("odd", [None, 7, ""])
async def test_an_image_of_which_the_engine_tells_no_id_keeps_its_name(
    stage: Stage, odd: object
) -> None:
    stage.engine.images[str(TARGET)] = "of somebody else"
    stage.engine.odd["Id"] = odd
    (outcome,) = await stage.copy()
    assert outcome.error is not None
    assert (outcome.status, outcome.error.where.step) == (Status.FAILED, Step.TAG)
    assert "not readable" in outcome.error.what
    assert stage.engine.images[str(TARGET)] == "of somebody else"


async def test_an_engine_that_tells_of_an_odd_platform_has_another_image(stage: Stage) -> None:
    stage.registries.put(SOURCE, index(amd64=image("c")))
    stage.engine.odd |= {"Os": ["linux"], "Variant": {"v": 8}}
    (outcome,) = await stage.copy(job(SOURCE, TARGET, AMD64))
    assert isinstance(outcome.error, errors.NoSuchPlatform)


@pytest.mark.parametrize("step", ["tag", "push"])
async def test_an_image_that_somebody_else_cleans_away_is_fetched_again(
    stage: Stage, step: str
) -> None:
    stage.engine.before[step].append(stage.engine.images.clear)
    (outcome,) = await stage.copy()
    assert outcome.status is Status.COPIED
    assert len(stage.engine.asked("images/create")) == 2


async def test_a_failed_copy_takes_its_tag_back_and_keeps_what_it_pulled(stage: Stage) -> None:
    stage.engine.push = [{"error": "denied"}]
    (outcome,) = await stage.copy()
    assert outcome.status is Status.FAILED
    assert set(stage.engine.images) == {PULL_NAME}


@pytest.mark.parametrize(
    ("push", "clean", "holds"),
    [
        ([{"error": "denied"}], False, "what was there"),
        ([{"error": "denied"}], True, "what was there"),
        (PUSHED, True, "what was there"),
        (PUSHED, False, f"id of {PULL_NAME}"),
    ],
    ids=["failed", "failed, clean", "copied, clean", "copied"],
)
async def test_a_name_that_another_image_had_goes_back_to_it_unless_the_copy_is_to_stay(
    stage: Stage, push: list[object], clean: bool, holds: str
) -> None:
    stage.engine.images[str(TARGET)] = "what was there"
    stage.engine.push = push
    await stage.copy(clean=clean)
    assert stage.engine.images[str(TARGET)] == holds


async def test_a_name_goes_altogether_if_somebody_cleaned_away_the_image_that_had_it(
    stage: Stage,
) -> None:
    stage.engine.images[str(TARGET)] = "what was there"
    stage.engine.before["push"].append(stage.engine.nameless.clear)
    (outcome,) = await stage.copy(clean=True)
    assert outcome.notes == ()
    assert stage.engine.images == {}


async def test_clean_removes_what_the_run_brought_and_nothing_that_was_there(stage: Stage) -> None:
    await stage.copy(clean=True)
    assert stage.engine.images == {}
    stage.engine.images[PULL_NAME] = "pulled by somebody"
    await stage.copy(clean=True)
    assert set(stage.engine.images) == {PULL_NAME}


async def test_two_jobs_of_one_image_fetch_it_once_and_the_last_one_cleans(stage: Stage) -> None:
    other = Reference.parse("s.example/a:2")
    stage.registries.put(other, image("c"))
    jobs = (job(), job(other, Reference.parse("t.example/team/a:2")))
    outcomes = await stage.copy(*jobs, clean=True, concurrency=2)
    assert [outcome.status for outcome in outcomes] == [Status.COPIED] * 2
    removed = stage.engine.asked(f"DELETE /v1.41/images/{PULL_NAME}")
    assert len(removed) == 1
    assert stage.engine.requests.index(removed[0]) > max(
        stage.engine.requests.index(push) for push in stage.engine.asked("/push?")
    )


async def test_an_engine_that_cannot_clean_in_time_is_told_of_and_holds_up_nobody(
    stage: Stage,
) -> None:
    stage.engine.before["delete"].append(lambda: stage.engine.stall(30))
    with anyio.fail_after(20):
        (outcome,) = await stage.copy(clean=True)
    assert outcome.status is Status.COPIED
    assert outcome.notes == ("the engine could not be cleaned: it took too long",)


async def test_what_the_engine_says_about_cleaning_is_a_note_and_no_failure(stage: Stage) -> None:
    stage.registries.failing.clear()
    stage.engine.before["delete"].append(stage.engine.images.clear)  # 404: gone already
    (outcome,) = await stage.copy(clean=True)
    assert (outcome.status, outcome.notes) == (Status.COPIED, ())


async def test_a_digest_that_the_target_does_not_confirm_is_no_copy(stage: Stage) -> None:
    other = DIGEST.replace("d", "e")
    stage.engine.distribution = [(200, {"Descriptor": {"digest": other}})]
    (outcome,) = await stage.copy(retries=3)
    assert isinstance(outcome.error, errors.DigestMismatch)
    assert other in outcome.error.what
    assert len(stage.engine.asked("/distribution/")) == 1


async def test_a_target_that_names_the_digest_to_us_needs_no_word_through_the_engine(
    stage: Stage,
) -> None:
    stage.registries.put(TARGET, RawManifest(OCI_MANIFEST, b"", Digest.parse(DIGEST)))
    (outcome,) = await stage.copy()
    assert (outcome.status, str(outcome.digest)) == (Status.COPIED, DIGEST)
    assert not stage.engine.asked("/distribution/")


@pytest.mark.parametrize("answer", ["another", "nothing", "an error"])
async def test_a_target_that_tells_us_something_else_is_asked_through_the_engine(
    stage: Stage, answer: str
) -> None:
    """Its name may mean another registry here than in the engine's network."""
    if answer == "another":
        stage.registries.put(TARGET, image("another"))
    if answer == "an error":
        gone = errors.RegistryUnavailable("gone", Where("t.example"))
        break_it = partial(stage.registries.failing.setdefault, "t.example", lambda: gone)
        stage.engine.before["tag"].append(break_it)
    (outcome,) = await stage.copy()
    assert outcome.status is Status.COPIED
    assert len(stage.engine.asked("/distribution/")) == 1


async def test_a_target_that_needs_a_moment_to_show_the_tag_is_asked_again(stage: Stage) -> None:
    stage.engine.distribution.insert(0, (404, {"message": "manifest unknown"}))
    (outcome,) = await stage.copy(retries=1)
    assert outcome.status is Status.COPIED


async def test_podmans_word_is_not_taken_for_the_targets(stage: Stage) -> None:
    stage.engine.version["Components"] = [{"Name": "Podman Engine"}]  # type: ignore[assignment]
    (outcome,) = await stage.copy()
    assert isinstance(outcome.error, errors.DigestMismatch)
    assert not stage.engine.asked("/distribution/")


async def test_a_pull_that_stands_still_is_given_up_and_tried_again(stage: Stage) -> None:
    stage.engine.pull = [DOWNLOADING, 30]
    going = [*PULLED]
    stage.engine.before["pull"] += [lambda: None, lambda: setattr(stage.engine, "pull", going)]
    async with open_client(Endpoint(stage.engine.url)) as docker, docker.session:
        engine = await Engine.ask(docker, Idle(0.3), Queue())
        async with running([job()], stage.made(engine, 1), concurrency=1) as run:
            async for outcome in run:
                assert (outcome.status, outcome.attempts) == (Status.COPIED, 2), outcome.error


async def test_a_copy_that_is_stopped_in_its_push_leaves_no_name_of_the_target(
    stage: Stage,
) -> None:
    stage.engine.push = [{"status": "Preparing"}, 30]
    pushing = anyio.Event()

    def observe(event: Event) -> None:
        if event == StepStarted(job(), Step.PUSH):
            pushing.set()

    async with (
        stage.transport() as transport,
        running([job()], transport, concurrency=1, observe=observe) as run,
    ):
        await pushing.wait()
        run.stop()
        async for outcome in run:
            assert outcome.status is Status.CANCELLED
    assert set(stage.engine.images) == {PULL_NAME}


async def test_an_engine_that_refuses_to_clean_is_noted_and_costs_no_image(
    scripted: ScriptedEngine,
) -> None:
    stage = Stage(scripted, {"t.example": Credential("u", "t-c4nary")})
    scripted.keeps = "conflict: in use as t-c4nary"
    (outcome,) = await stage.copy(clean=True)
    assert outcome.status is Status.COPIED
    assert outcome.notes == ("the engine could not be cleaned: conflict: in use as ***",)


async def test_what_the_engine_has_tried_for_a_minute_is_not_tried_again(stage: Stage) -> None:
    failed = {"error": "received unexpected HTTP status: 503 Service Unavailable"}
    stage.engine.push = [{"status": "Retrying in 5 seconds", "id": "layer"}, failed]
    (outcome,) = await stage.copy(retries=3)
    assert isinstance(outcome.error, errors.RegistryUnavailable)
    assert len(stage.engine.asked("/push?")) == 1
    stage.engine.push = [failed]
    await stage.copy(retries=3)
    assert len(stage.engine.asked("/push?")) == 1 + 4


async def test_an_engines_retries_that_helped_do_not_end_ours_nor_do_any_at_a_rate_limit(
    stage: Stage,
) -> None:
    retrying, reset = {"status": "Retrying in 5 seconds", "id": "layer"}, {"error": "broken pipe"}
    stage.engine.push = [retrying, {"status": "Pushed", "id": "layer"}, reset]
    await stage.copy(retries=1)
    assert len(stage.engine.asked("/push?")) == 2
    stage.engine.push = [retrying, {"error": "toomanyrequests: slow down"}]
    await stage.copy(retries=1)
    assert len(stage.engine.asked("/push?")) == 4


async def test_an_image_whose_variant_the_engine_leaves_out_is_the_one_of_the_index(
    stage: Stage,
) -> None:
    v6 = Platform.parse("linux/arm/v6")
    stage.registries.put(SOURCE, index(arm=image("arm")))
    stage.engine.platform = {"Os": "linux", "Architecture": "arm"}
    (outcome,) = await stage.copy(job(SOURCE, TARGET, Platform.parse("linux/arm")))
    assert outcome.status is Status.COPIED
    stage.registries.failing["s.example"] = lambda: unreachable("s.example")
    (outcome,) = await stage.copy(job(SOURCE, TARGET, v6))
    assert outcome.status is Status.COPIED, outcome.error
    stage.engine.platform["Variant"] = "v7"
    (outcome,) = await stage.copy(job(SOURCE, TARGET, v6))
    assert isinstance(outcome.error, errors.NoSuchPlatform)


async def test_on_podman_a_target_that_cannot_be_asked_fails_before_the_pull(stage: Stage) -> None:
    stage.engine.version["Components"] = [{"Name": "Podman Engine"}]  # type: ignore[assignment]
    stage.registries.failing["t.example"] = lambda: unreachable("t.example")
    (outcome,) = await stage.copy()
    assert isinstance(outcome.error, errors.TlsError)
    assert outcome.error.where == Where("t.example", str(SOURCE), Step.RESOLVE)
    assert not stage.engine.asked("images/create")


async def test_on_podman_a_target_that_never_answers_is_asked_but_once_by_each_further_image(
    stage: Stage,
) -> None:
    async def swallow(request: web.BaseRequest) -> web.Response:
        await anyio.sleep_forever()
        return web.Response()

    async def healthy(request: web.BaseRequest) -> web.Response:
        return manifest_answer()

    stage.engine.version["Components"] = [{"Name": "Podman Engine"}]  # type: ignore[assignment]
    async with (
        serving(healthy) as source,
        serving(swallow) as silent,
        RegistryClient(
            Access(plain_http={source.host, silent.host}), stage.credentials, idle_seconds=0.2
        ) as registries,
        connected(stage.engine.url) as (engine, _),
    ):
        retrying = Retrying(3, sleep=no_wait)
        transport = EngineTransport(engine, registries, stage.credentials, retrying=retrying)
        asked = []
        for number in range(5):
            before = len(silent.requests)
            target = Reference.parse(f"{silent.host}/team/a{number}:1")
            with pytest.raises(errors.TimedOut, match="It has answered nothing in this run"):
                await transport(job(Reference.parse(f"{source.host}/a{number}:1"), target), ignore)
            asked.append(len(silent.requests) - before)
    # What it has is a question of its own, which nobody asks any more after three images.
    assert asked == [4 + 4, 4 + 1, 1 + 1, 1, 1]
    assert not stage.engine.asked("images/create")


async def test_on_podman_a_target_is_asked_from_here_though_the_source_cannot_be(
    stage: Stage,
) -> None:
    stage.engine.version["Components"] = [{"Name": "Podman Engine"}]  # type: ignore[assignment]
    stage.registries.failing["s.example"] = lambda: unreachable("s.example")
    stage.registries.put(TARGET, RawManifest(OCI_MANIFEST, b"", Digest.parse(DIGEST)))
    (outcome,) = await stage.copy()
    assert (outcome.status, str(outcome.digest)) == (Status.COPIED, DIGEST), outcome.error


async def test_what_lies_under_the_targets_tag_does_not_stop_a_push_over_it(stage: Stage) -> None:
    stage.registries.failing["t.example"] = lambda: unreachable("t.example")
    stage.engine.distribution.insert(0, (500, {"message": "schema version 1 is disabled"}))
    (outcome,) = await stage.copy()
    assert outcome.status is Status.COPIED


async def test_a_helper_that_fails_late_is_told_with_image_and_step(
    scripted: ScriptedEngine, tmp_path: Path
) -> None:
    stage = Stage(scripted)
    (tmp_path / "config.json").write_text('{"credHelpers": {"t.example": "no-such-helper"}}')
    stage.credentials = Credentials.load({}, docker_config=tmp_path)
    (outcome,) = await stage.copy()
    assert isinstance(outcome.error, errors.AuthenticationFailed)
    assert outcome.error.where == Where("t.example", str(SOURCE), Step.RESOLVE)


async def test_a_stream_without_a_result_costs_its_own_image_alone(stage: Stage) -> None:
    stage.engine.push = [{"status": "Pushed", "id": "layer"}]
    second = job(SOURCE, Reference.parse("t.example/team/b:1"))
    outcomes = await stage.copy(job(), second, retries=3)
    assert [type(outcome.error) for outcome in outcomes] == [CopyError, CopyError]
    assert len(stage.engine.asked("/push?")) == 4  # each once more


async def test_an_engine_that_is_gone_ends_the_run(stage: Stage) -> None:
    stage.engine.push = [{"status": "Preparing"}, None]
    second = job(SOURCE, Reference.parse("t.example/team/b:1"))
    lost, left = await stage.copy(job(), second, retries=1)
    assert isinstance(lost.error, errors.EngineLost)
    assert lost.error.ends_run
    assert lost.attempts == 2
    assert left.status is Status.NOT_STARTED


def unreachable(host: str) -> CopyError:
    return errors.TlsError("no trust", Where(host))


@pytest.mark.parametrize("source", [SOURCE, SOURCE.by_digest(Digest.of(b"an index"))], ids=str)
async def test_an_engine_that_has_to_choose_by_itself_is_told_the_platform(
    stage: Stage, source: Reference
) -> None:
    stage.registries.failing["s.example"] = lambda: unreachable("s.example")
    stage.engine.platform = {"Os": "linux", "Architecture": "arm64"}
    stage.engine.version["ApiVersion"] = "1.46"
    stage.engine.info["DriverStatus"] = [["driver-type", "io.containerd.snapshotter.v1"]]
    target = Reference.parse("t.example/team/a:1")
    (outcome,) = await stage.copy(job(source, target, ARM64))
    assert outcome.status is Status.COPIED, outcome.error
    (pull,) = stage.engine.asked("images/create")
    assert "platform=linux/arm64" in pull
    (push,) = stage.engine.asked("/push?")
    assert '"architecture": "arm64"' in push.replace("+", " ")


async def test_a_manifest_of_the_platform_is_pulled_without_naming_it_again(stage: Stage) -> None:
    stage.registries.put(SOURCE, index(amd64=image("amd"), arm64=image("arm")))
    stage.engine.platform = {"Os": "linux", "Architecture": "arm64"}
    await stage.copy(job(SOURCE, TARGET, ARM64))
    (pull,) = stage.engine.asked("images/create")
    assert str(image("arm").digest) in pull
    assert "platform" not in pull


async def test_an_engine_that_brings_another_platform_is_not_believed(stage: Stage) -> None:
    stage.registries.failing["s.example"] = lambda: unreachable("s.example")
    stage.engine.platform = {"Os": "linux\x1b[2J\n::error::", "Architecture": "amd64"}
    (outcome,) = await stage.copy(job(SOURCE, TARGET, ARM64))
    assert isinstance(outcome.error, errors.NoSuchPlatform)
    assert outcome.error.what.isprintable()
    assert not stage.engine.asked("/push?")


@pytest.mark.parametrize(
    ("says", "kind"),
    [
        ("unauthorized: authentication required", errors.AuthenticationFailed),
        ("toomanyrequests: slow down", errors.RateLimited),
        ("received unexpected HTTP status: 503 Service Unavailable", errors.RegistryUnavailable),
        ("x509: certificate signed by unknown authority", errors.TlsError),
    ],
)
async def test_a_target_out_of_our_reach_is_asked_through_the_engine_before_the_pull(
    stage: Stage, says: str, kind: type[CopyError]
) -> None:
    stage.registries.failing["t.example"] = lambda: unreachable("t.example")
    stage.engine.distribution = [(500, {"message": says})]
    (outcome,) = await stage.copy()
    assert isinstance(outcome.error, kind)
    assert not stage.engine.asked("images/create")


def several(stage: Stage, count: int) -> list[CopyJob]:
    """Jobs of so many images that the source has."""
    jobs = [
        job(Reference.parse(f"s.example/a{n}:1"), Reference.parse(f"t.example/team/a{n}:1"))
        for n in range(count)
    ]
    for each in jobs:
        stage.registries.put(each.source, image("c"))
    return jobs


async def test_once_a_target_refuses_a_push_no_more_is_pulled_for_it(stage: Stage) -> None:
    jobs = several(stage, 5)
    stage.engine.push = [{"error": "denied: requested access to the resource is denied"}]
    where = Where("t.example")
    stage.registries.refusing["t.example"] = lambda: errors.PermissionDenied("403", where)
    outcomes = await stage.copy(*jobs)
    for outcome in outcomes:
        assert isinstance(outcome.error, errors.PermissionDenied)
        assert outcome.error.where == Where("t.example", str(outcome.job.source), Step.PUSH)
    assert len(stage.engine.asked("images/create")) == 1
    assert stage.registries.asked.count("POST t.example") == 4
    assert len(causes(outcomes)) == 1


async def test_a_target_that_refuses_one_image_gets_the_next_one_that_it_lets_in(
    stage: Stage,
) -> None:
    jobs = several(stage, 3)
    denied = [{"error": "denied: requested access to the resource is denied"}]
    stage.engine.before["push"] = [lambda: setattr(stage.engine, "push", denied)]
    stage.engine.before["push"] += [lambda: setattr(stage.engine, "push", PUSHED)]
    outcomes = await stage.copy(*jobs)
    assert [outcome.status for outcome in outcomes] == ["failed", "copied", "copied"]
    asked = [what for what in stage.registries.asked if what[:4] in ("POST", "DELE")]
    assert asked == ["POST t.example", "DELETE t.example"] * 2


async def test_a_target_that_fails_when_it_is_asked_gets_its_push_all_the_same(
    stage: Stage,
) -> None:
    jobs = several(stage, 2)
    stage.engine.push = [{"error": "denied: requested access to the resource is denied"}]
    where = Where("t.example")
    stage.registries.refusing["t.example"] = lambda: errors.RegistryUnavailable("503", where, True)
    outcomes = await stage.copy(*jobs, retries=1)
    assert [type(outcome.error) for outcome in outcomes] == [errors.PermissionDenied] * 2
    assert stage.registries.asked.count("POST t.example") == 1
    assert len(stage.engine.asked("images/create")) == 2


async def test_a_target_that_refuses_nothing_is_not_asked_whether_it_does(stage: Stage) -> None:
    await stage.copy(*several(stage, 2))
    assert "POST t.example" not in stage.registries.asked


async def test_a_layer_that_many_streams_tell_is_counted_once(stage: Stage) -> None:
    stage.engine.pull = [DOWNLOADING, {"status": "Pull complete", "id": "layer"}, *PULLED]
    other = Reference.parse("s.example/b:1")
    stage.registries.put(other, image("another"))
    outcomes = await stage.copy(job(), job(other, Reference.parse("t.example/team/b:1")))
    assert [outcome.bytes_moved for outcome in outcomes] == [9, 0]
    assert sum(event.count for event in stage.events if isinstance(event, BytesMoved)) == 9


async def test_nothing_that_an_engine_repeats_of_a_login_is_kept_or_shown(
    scripted: ScriptedEngine,
) -> None:
    who = {"s.example": Credential("u", "s-c4nary"), "t.example": Credential("u", "t-c4nary")}
    stage = Stage(scripted, who)
    await stage.copy()
    sent = [auth for auth in scripted.auths if auth]
    bare = {auth.rstrip("=") for auth in sent}
    assert bare - {*sent}, "some end in padding"
    assert {json.loads(base64.urlsafe_b64decode(auth))["password"] for auth in sent} == {
        "s-c4nary",
        "t-c4nary",
    }
    for end in ("pull", "push"):
        scripted.pull, scripted.push = PULLED, PUSHED
        setattr(
            scripted, end, [{"error": f"bad header {' '.join([*sent, *bare])} s-c4nary t-c4nary"}]
        )
        (outcome,) = await stage.copy(job(SOURCE, Reference.parse(f"t.example/{end}:1")))
        assert outcome.error is not None
        told = "".join(traceback.format_exception(outcome.error)) + repr(outcome)
        assert "c4nary" not in told
        assert not any(auth.rstrip("=") in told for auth in sent)
        assert outcome.error.__cause__ is outcome.error.__context__ is None


async def test_logins_go_to_their_own_registry_alone(scripted: ScriptedEngine) -> None:
    stage = Stage(scripted, {"t.example": Credential("u", "for the target")})
    await stage.copy()
    sent = dict(zip(scripted.requests, scripted.auths, strict=True))
    (pull,) = scripted.asked("images/create")
    (push,) = scripted.asked("/push?")
    assert json.loads(base64.urlsafe_b64decode(sent[pull])) == {}
    assert json.loads(base64.urlsafe_b64decode(sent[push]))["password"] == "for the target"


async def test_notes_are_part_of_the_outcome(stage: Stage) -> None:
    stage.registries.put(SOURCE, index(amd64=image("amd"), arm64=image("arm")))
    (outcome,) = await stage.copy()
    noted = [event.text for event in stage.events if isinstance(event, Noted)]
    assert outcome.notes == tuple(noted)
    assert "2 platforms" in noted[0]


WAITING = {"status": "Waiting", "id": "layer"}


@pytest.mark.parametrize(
    ("info", "records", "told"),
    [
        ({}, [WAITING, 0.4, DOWNLOADING, *PULLED], 1),
        ({}, [DOWNLOADING, 0.4, *PULLED], 0),  # slow, but not for want of a connection
        ({}, [WAITING, DOWNLOADING, 0.4, *PULLED], 0),  # it waited for a moment only
        (CONTAINERD, [WAITING, 0.4, DOWNLOADING, *PULLED], 0),  # which has no limits to raise
    ],
)
async def test_limits_of_the_engine_that_hold_up_the_run_are_told_once(
    stage: Stage, info: dict[str, object], records: list[object], told: int
) -> None:
    second = Reference.parse("s.example/b:1")
    stage.registries.put(second, image("d"))
    stage.engine.info, stage.engine.pull = info, records
    jobs = (job(), job(second, Reference.parse("t.example/team/b:1")))
    async with open_client(Endpoint(stage.engine.url)) as docker, docker.session:
        engine = await Engine.ask(docker, Idle(), Queue(long=0.3))
        observe = stage.events.append
        async with running(jobs, stage.made(engine), concurrency=1, observe=observe) as run:
            async for outcome in run:
                assert outcome.status is Status.COPIED
    advised = [event for event in stage.events if isinstance(event, Advised)]
    assert len(advised) == told
    assert all("max-concurrent-downloads" in event.text for event in advised)
