"""The calls to an engine, against a scripted one: silence, breaks, and answers that lie."""

from __future__ import annotations

import threading
from collections.abc import Callable

import anyio
import pytest
from anyio.lowlevel import checkpoint
from parts.clock import Clock
from parts.scripted_engine import DIGEST, PULLED, ScriptedEngine

from asyncsync.transports.engine.finding import Endpoint, open_client
from asyncsync.transports.engine.wire import Engine, Idle, Lost, Refused, Stalled, Unfinished

LAYER = {"status": "Downloading", "id": "abc", "progressDetail": {"current": 5, "total": 9}}


def ignore(layer: str, count: int) -> None:
    pass


async def pull(
    scripted: ScriptedEngine, idle: Idle, moved: Callable[[str, int], None] = ignore
) -> None:
    async with open_client(Endpoint(scripted.url)) as docker, docker.session:
        engine = await Engine.ask(docker, idle)
        await engine.pull("r.example/a:1", "e30=", moved)


async def test_what_moved_is_told_by_layer() -> None:
    moved: list[tuple[str, int]] = []
    with ScriptedEngine() as scripted:
        scripted.pull = [LAYER, *PULLED]
        await pull(scripted, Idle(), lambda *told: moved.append(told))
    assert moved == [("abc", 5)]


async def test_a_run_in_which_nothing_moves_is_given_up() -> None:
    with ScriptedEngine() as scripted:
        scripted.pull = [LAYER, 30]
        with pytest.raises(Stalled, match="nothing moved"):
            await pull(scripted, Idle(0.2))


async def test_an_answer_that_never_comes_is_given_up_too() -> None:
    with ScriptedEngine() as scripted:
        scripted.silent = True
        with pytest.raises(Stalled):
            await pull(scripted, Idle(0.2))


async def test_an_engine_that_takes_us_and_says_nothing_is_not_waited_for() -> None:
    with ScriptedEngine() as scripted:
        scripted.before["version"].append(lambda: scripted.stall(30))
        async with open_client(Endpoint(scripted.url)) as docker, docker.session:
            with pytest.raises(Stalled, match="nothing for too long"):
                await Engine.ask(docker, Idle(), seconds=0.2)


async def test_a_silent_stream_is_left_alone_while_another_one_moves() -> None:
    clock, idle = Clock(), Idle(2)
    goes_on, ended = threading.Semaphore(0), threading.Event()

    def takes_a_while(*_: object) -> None:
        clock.advance(1.5)
        goes_on.release()

    with ScriptedEngine() as silent, ScriptedEngine() as busy, clock.of_the_loop():
        silent.pull = [{"status": "Waiting", "id": "x"}, ended.wait, *PULLED]
        steps: list[object] = []
        for n in range(8):
            steps += [{**LAYER, "progressDetail": {"current": n + 1}}, goes_on.acquire]
        busy.pull = [*steps, *PULLED]

        async def moves() -> None:
            await pull(busy, idle, takes_a_while)
            ended.set()

        async with anyio.create_task_group() as group:
            group.start_soon(pull, silent, idle)
            while not silent.asked("/images/create"):
                await checkpoint()
            group.start_soon(moves)


async def test_repeats_are_no_movement() -> None:
    with ScriptedEngine() as scripted:
        steps: list[object] = []
        for _ in range(30):
            steps += [LAYER, 0.1]
        scripted.pull = [*steps, *PULLED]
        with pytest.raises(Stalled):
            await pull(scripted, Idle(0.5))


@pytest.mark.parametrize(
    ("records", "fault"),
    [
        ([LAYER, None], Lost),
        ([LAYER], Unfinished),
        ([{"error": "denied"}], Refused),
        ([*PULLED, {"error": "WARNING: another platform"}], Refused),
        (["no record", *PULLED], None),
        ([[1, 2], *PULLED], None),
    ],
)
async def test_only_a_stream_that_says_so_is_a_success(
    records: list[object], fault: type[Exception] | None
) -> None:
    with ScriptedEngine() as scripted:
        scripted.pull = records
        if fault is None:
            await pull(scripted, Idle())
        else:
            with pytest.raises(fault):
                await pull(scripted, Idle())


@pytest.mark.parametrize(
    "answer", [{}, {"Descriptor": None}, {"Descriptor": {"digest": "sha256:1"}}, [], "x"]
)
async def test_an_unreadable_word_about_the_target_is_a_refusal(answer: object) -> None:
    with ScriptedEngine() as scripted:
        scripted.distribution = [(200, answer)]
        async with open_client(Endpoint(scripted.url)) as docker, docker.session:
            engine = await Engine.ask(docker, Idle())
            with pytest.raises(Refused):
                await engine.distribution("r.example/a:1", "e30=")


async def test_an_engine_that_is_gone_is_lost_at_every_call() -> None:
    with ScriptedEngine() as scripted:
        docker = open_client(Endpoint(scripted.url))
        engine = await Engine.ask(docker, Idle())
    async with docker, docker.session:
        await docker.session.close()
    async with open_client(Endpoint(scripted.url)) as fresh, fresh.session:
        fresh.api_version = "v1.41"
        engine._docker = fresh
        for call in (
            engine.pull("r.example/a:1", "e30=", lambda *_: None),
            engine.push("r.example/a", "1", "e30=", None),
            engine.tag("a", "b", "c"),
            engine.inspect("a"),
            engine.remove("a"),
            engine.distribution("a", "e30="),
        ):
            with pytest.raises(Lost):
                await call


async def test_a_push_names_the_digest_that_the_engine_sent() -> None:
    with ScriptedEngine() as scripted:
        scripted.images["r.example/a:1"] = "an Id"
        async with open_client(Endpoint(scripted.url)) as docker, docker.session:
            engine = await Engine.ask(docker, Idle())
            assert str(await engine.push("r.example/a", "1", "e30=", None)) == DIGEST


@pytest.mark.parametrize("said", [DIGEST, DIGEST.partition(":")[2], "", None])
async def test_the_config_of_a_held_image_is_its_id_where_that_is_a_digest(
    said: str | None,
) -> None:
    with ScriptedEngine() as scripted:
        if said is not None:
            scripted.images["r.example/a:1"] = said
        async with open_client(Endpoint(scripted.url)) as docker, docker.session:
            engine = await Engine.ask(docker, Idle())
            config = await engine.config_of("r.example/a:1")
    assert (config and str(config)) == (said if said == DIGEST else None)
