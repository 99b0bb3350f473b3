"""The library as a developer uses it inside a service: awaited, watched, cancelled."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from parts.commands import docker_config
from parts.engine import Engine
from parts.registry import Registry
from parts.relay import Relay

import asyncsync
from asyncsync import Status

pytestmark = pytest.mark.timeout(120)


async def test_sync_returns_a_report_in_the_order_of_the_list(
    engine: Engine, registry: Registry, own_registry: Registry, namespace: str, tmp_path: Path
) -> None:
    at = f"{registry.host}/{namespace}"
    for name in ("b", "a"):
        registry.put_image(f"{namespace}/{name}", "1")
    path = tmp_path / "images.yaml"
    path.write_text(f"{at}/b:1\n{at}/missing:1\n{at}/a:1\n")

    report = await asyncsync.sync(
        path, to=own_registry.host, engine=engine.url, docker_config=tmp_path
    )

    assert [str(o.job.source) for o in report.outcomes] == [
        f"{at}/{n}:1" for n in ("b", "missing", "a")
    ]
    assert [o.status for o in report.outcomes] == [Status.COPIED, Status.FAILED, Status.COPIED]
    assert not report.ok
    with pytest.raises(asyncsync.SyncFailed, match="1 of 3 images") as caught:
        report.raise_for_failures()
    assert caught.value.report is report
    assert isinstance(report.outcomes[1].error, asyncsync.NotFound)


async def test_open_sync_tells_each_image_as_it_ends_and_every_event_to_a_listener(
    engine: Engine, registry: Registry, own_registry: Registry, namespace: str, tmp_path: Path
) -> None:
    registry.put_image(f"{namespace}/a", "1")
    events: list[str] = []
    async with asyncsync.open_sync(
        [f"{registry.host}/{namespace}/a:1"],
        to=own_registry.host, engine=engine.url, docker_config=tmp_path,
        observe=lambda event: events.append(type(event).__name__),
    ) as run:  # fmt: skip
        outcomes = [outcome async for outcome in run]
    assert [o.status for o in outcomes] == [Status.COPIED]
    assert run.report.outcomes == tuple(outcomes)
    assert events[0] == "Chosen"
    assert events[-1] == "Ended"
    assert {"StepStarted", "StepEnded"} <= set(events)


@pytest.mark.parametrize(("concurrency", "advised"), [(16, False), (17, True)])
async def test_more_at_once_than_an_engine_gains_from_is_advised_against(
    engine: Engine, concurrency: int, advised: bool
) -> None:
    chosen: list[asyncsync.Event] = []
    await asyncsync.sync(
        asyncsync.Plan(()), engine=engine.url, concurrency=concurrency, observe=chosen.append
    )
    assert ("gains nothing above 16" in str(chosen[0])) is advised


async def test_an_image_that_waits_for_another_job_with_the_same_bytes_says_so(
    engine: Engine, registry: Registry, relay: Relay, own_registry: Registry, namespace: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    for tag in ("1", "2"):
        registry.put_image(f"{namespace}/a", tag, seed="same", layers=1, size=3_000_000)
    relay.throttle(1_000_000)
    waits: list[asyncsync.Event] = []

    def observe(event: asyncsync.Event) -> None:
        if type(event).__name__ == "Waited":
            waits.append(event)

    at = f"{relay.host}/{namespace}"
    report = await asyncsync.sync(
        [f"{at}/a:1", f"{at}/a:2"], to=own_registry.host, engine=engine.url,
        docker_config=tmp_path, observe=observe,
    )  # fmt: skip
    report.raise_for_failures()
    assert len(waits) == 1


async def test_a_plan_can_be_made_first_and_carried_out_later(
    engine: Engine, registry: Registry, own_registry: Registry, namespace: str, tmp_path: Path
) -> None:
    registry.put_image(f"{namespace}/a", "1")
    plan = await asyncsync.plan([f"{registry.host}/{namespace}/a:1"], to=own_registry.host)
    assert [str(job.target) for job in plan.jobs] == [f"{own_registry.host}/a:1"]
    report = await asyncsync.sync(plan, engine=engine.url, docker_config=tmp_path)
    report.raise_for_failures()


async def test_a_report_is_not_fine_before_every_image_is(
    engine: Engine, registry: Registry, own_registry: Registry, namespace: str, tmp_path: Path
) -> None:
    registry.put_image(f"{namespace}/a", "1")
    async with asyncsync.open_sync(
        [f"{registry.host}/{namespace}/a:1"],
        to=own_registry.host, engine=engine.url, docker_config=tmp_path,
    ) as run:  # fmt: skip
        assert [outcome.status for outcome in run.report.outcomes] == [Status.NOT_STARTED]
        assert not run.report.ok
        async for _ in run:
            pass
        assert run.report.ok


async def test_logins_and_context_of_another_docker_config_are_used(
    engine: Engine, registry: Registry, locked_registry: Registry, namespace: str, tmp_path: Path
) -> None:
    registry.put_image(f"{namespace}/a", "1")
    login = (str(locked_registry.user), locked_registry.password)
    config = docker_config(tmp_path, {locked_registry.host: login})
    engine.docker("context", "create", "there", "--docker", f"host={engine.url}", config=config)
    engine.docker("context", "use", "there", config=config)
    report = await asyncsync.sync(
        [f"{registry.host}/{namespace}/a:1"],
        to=f"{locked_registry.host}/{namespace}", docker_config=config,
    )  # fmt: skip
    report.raise_for_failures()
    assert locked_registry.tags(f"{namespace}/a") == ["1"]


async def test_an_exception_in_the_block_arrives_bare_and_ends_everything(
    engine: Engine, registry: Registry, own_registry: Registry, namespace: str, tmp_path: Path
) -> None:
    registry.put_image(f"{namespace}/a", "1", size=4_000_000)
    with pytest.raises(LookupError):
        async with asyncsync.open_sync(
            [f"{registry.host}/{namespace}/a:1"],
            to=own_registry.host, engine=engine.url, docker_config=tmp_path,
        ) as run:  # fmt: skip
            raise LookupError
    assert len(run.report.outcomes) == 1
    with anyio.fail_after(20):  # the kernel's own moment, after the call has returned
        while engine.open_connections():
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("images", "options", "error"),
    [
        (["Nginx"], {"to": "r.example/x"}, asyncsync.ListError),
        (["a.example/x:1", "b.example/x:1"], {"to": "r.example"}, asyncsync.PlanError),
        (["nginx"], {}, asyncsync.ConfigurationError),
        (["nginx"], {"to": "https://r.example"}, asyncsync.ConfigurationError),
        (["nginx"], {"to": "r.example", "concurrency": 0}, asyncsync.ConfigurationError),
        (["nginx"], {"to": "r.example", "concurrency": 257}, asyncsync.ConfigurationError),
        (["nginx"], {"to": "r.example", "via": "telepathy"}, asyncsync.ConfigurationError),
        (["nginx"], {"to": "r.example", "retries": -1}, asyncsync.ConfigurationError),
        (["nginx"], {"to": "r.example", "timeout": 0}, asyncsync.ConfigurationError),
        (["nginx"], {"to": "r.example", "platforms": ["x"]}, asyncsync.ConfigurationError),
        (
            ["nginx"],
            {"to": "r.example", "platforms": ["linux/amd64", "linux/arm64"], "via": "engine"},
            asyncsync.ConfigurationError,
        ),
        ("no-such-list.yaml", {"to": "r.example"}, asyncsync.ConfigurationError),
        ("a\0b", {"to": "r.example"}, asyncsync.ConfigurationError),
        (["nginx"], {"to": "r.example", "platforms": "linux/amd64"}, asyncsync.ConfigurationError),
        (["nginx"], {"to": "r.example", "retries": 101}, asyncsync.ConfigurationError),
        (["nginx"], {"to": "r.example", "observe": anyio.sleep}, asyncsync.ConfigurationError),
        (["nginx"], {"to": "r.example", "engine": "what"}, asyncsync.ConfigurationError),
        (["nginx"], {"to": "r.example", "docker_config": "/no/such"}, asyncsync.ConfigurationError),
        (["nginx"], {"to": "r.example", "engine": "unix:///none"}, asyncsync.EngineUnavailable),
    ],
)
async def test_what_makes_no_sense_is_refused_before_anything_moves(
    images: object, options: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await asyncsync.sync(images, **options)  # type: ignore[arg-type]


def test_importing_it_loads_neither_aiohttp_nor_structlog() -> None:
    code = (
        "import sys, asyncsync; asyncsync.__all__; asyncsync.Reference\n"
        "print(sorted({'aiohttp', 'structlog', 'aiodocker', 'yaml', 'click'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_all_that_public_values_and_functions_are_made_of_is_public() -> None:
    """Or a typed program could not name what it gets, nor pass on what it is given."""
    public = {getattr(asyncsync, name) for name in asyncsync.__all__}
    made = [each for each in public if dataclasses.is_dataclass(each)]
    parts = {
        part
        for each in (*made, asyncsync.sync, asyncsync.open_sync, asyncsync.plan)
        for hint in typing.get_type_hints(each).values()
        for part in classes_in(hint)
    }
    assert {part for part in parts if part.__module__.startswith("asyncsync.")} <= public


def classes_in(hint: object) -> Iterator[type]:
    if isinstance(hint, type):
        yield hint
    for part in typing.get_args(hint):
        yield from classes_in(part)


def test_the_public_door_has_every_name_it_promises() -> None:
    for name in asyncsync.__all__:
        assert getattr(asyncsync, name) is not None
    assert set(asyncsync.__all__) <= set(dir(asyncsync))
    with pytest.raises(AttributeError, match="nonsense"):
        asyncsync.nonsense  # noqa: B018
