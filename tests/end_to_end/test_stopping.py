"""Stopped half-way, by signal, kill or cancellation: nothing runs on, and the next run goes on."""

from __future__ import annotations

import json
import signal
import time
from functools import partial
from pathlib import Path

import anyio
import pytest
from parts.commands import Command
from parts.engine import Engine
from parts.processes import once
from parts.registry import Registry
from parts.relay import Relay
from parts.scripted_engine import ScriptedEngine

import asyncsync
from asyncsync import Status

pytestmark = pytest.mark.timeout(180)

MIB = 1024 * 1024


def put_and_list(registry: Registry, link: Relay, namespace: str, folder: Path) -> list[str]:
    """One small image that is through at once, three big ones, as a list; their names."""
    registry.put_image(f"{namespace}/small", "1", size=1000)
    for n in range(3):
        registry.put_image(f"{namespace}/big{n}", "1", layers=2, size=8 * MIB)
    names = ["small", *(f"big{n}" for n in range(3))]
    lines = [f"{link.host}/{namespace}/{name}:1" for name in names]
    (folder / "images.yaml").write_text("\n".join(lines) + "\n")
    return names


def assert_still(engine: Engine, link: Relay, *, lacks: int) -> None:
    """After a stop the engine has nobody to answer, and no transfer goes on at the link.

    What was on its way comes to its end, and is less than an image `lacks`.
    """
    begun, before = link.up + link.down, -1
    once(lambda: engine.open_connections() == 0)
    link.throttle(4 * MIB)
    while before != (now := link.up + link.down):
        before = now
        time.sleep(1.0)
    assert now - begun < lacks, "the engine goes on"


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"]
)
def test_a_signal_ends_the_run_in_order_and_the_next_run_goes_on(
    engine: Engine, registry: Registry, own_registry: Registry, relay: Relay, namespace: str,
    asyncsync_command: Command, number: signal.Signals, code: int,
) -> None:  # fmt: skip
    names = put_and_list(registry, relay, namespace, asyncsync_command.folder)
    log = asyncsync_command.folder / "succeeded.log"
    to = ("--to", own_registry.host, "-c", "2")
    relay.throttle(2 * MIB)
    with asyncsync_command.started(
        "sync", *to, "--report", "report.json", "--failed-list", "left.yaml", engine=engine
    ) as process:
        once(lambda: log.exists() and "/small:1" in log.read_text() and relay.down > 2 * MIB)
        process.send_signal(number)
        begun = time.monotonic()
        out, err = process.communicate(timeout=30)
        took = time.monotonic() - begun
    assert process.returncode == code, out + err
    assert took < 5, "a bound that is promised to users"
    assert_still(engine, relay, lacks=10 * MIB)
    report = json.loads((asyncsync_command.folder / "report.json").read_text())
    statuses = {o["target"].rpartition("/")[2]: o["status"] for o in report["outcomes"]}
    assert statuses["small:1"] == "copied"
    assert sorted(statuses.values()) == ["cancelled", "cancelled", "copied", "not_started"]
    assert "Stopping" in err
    assert out.splitlines()[-1].startswith("1 copied")
    local = {name for name in engine.images() if name.startswith(f"{own_registry.host}/")}
    assert not any("/big" in name for name in local), "a target tag was left in the engine"
    assert (asyncsync_command.folder / "left.yaml").read_text().count("/big") >= 3

    relay.throttle(None)
    mark = own_registry.mark()
    again = asyncsync_command("sync", *to, engine=engine, timeout=120)
    assert again.returncode == 0, again.stdout + again.stderr
    puts = own_registry.requests("PUT", "/manifests/", since=mark)
    assert sorted(r.path for r in puts) == sorted(f"/v2/{n}/manifests/1" for n in names[1:])


def test_a_deadline_ends_the_run_in_order_before_it_is_over_and_the_next_run_goes_on(
    engine: Engine, registry: Registry, own_registry: Registry, relay: Relay, namespace: str,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    names = put_and_list(registry, relay, namespace, asyncsync_command.folder)
    to = ("--to", own_registry.host, "-c", "2", "--failed-list", "left.yaml")
    relay.throttle(0.75 * MIB)  # 9 MiB by the end, so each of two images of 16 lacks 7
    begun = time.monotonic()
    done = asyncsync_command("sync", *to, "--report", "r.json", "--deadline", "16s", engine=engine)
    assert time.monotonic() - begun < 16, "a bound that is promised to users"
    assert done.returncode == 1, done.stdout + done.stderr
    assert_still(engine, relay, lacks=6 * MIB)
    told = {o["target"].rpartition("/")[2]: o for o in json.loads(
        (asyncsync_command.folder / "r.json").read_text())["outcomes"]}  # fmt: skip
    assert {name: outcome["status"] for name, outcome in told.items()} == {
        "small:1": "copied", "big0:1": "cancelled", "big1:1": "cancelled", "big2:1": "not_started",
    }  # fmt: skip
    assert all(o["notes"][-1] == "the deadline came first" for o in list(told.values())[1:])
    left = (asyncsync_command.folder / "left.yaml").read_text().splitlines()
    assert [line for line in left if line[0] != "#"] == [
        f"{relay.host}/{namespace}/{name}:1" for name in names[1:]
    ]

    relay.throttle(None)
    again = asyncsync_command("sync", "left.yaml", *to, engine=engine, timeout=120)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.splitlines()[-1].startswith("3 copied")


def test_a_second_signal_ends_the_process_without_waiting_for_anything(
    registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    registry.put_image(f"{namespace}/a", "1")
    (asyncsync_command.folder / "images.yaml").write_text(f"{registry.host}/{namespace}/a:1\n")
    with ScriptedEngine() as engine:
        engine.push = [{"status": "Preparing"}, 60]
        engine.before["delete"].append(lambda: engine.stall(60))  # cleaning up takes its 3 s
        arguments = ("sync", "--to", f"{registry.host}/to", "--report", "report.json")
        with asyncsync_command.started(*arguments, engine=engine) as process:
            once(lambda: bool(engine.asked("/push?")))
            process.send_signal(signal.SIGINT)
            once(lambda: bool(engine.asked("DELETE ")))
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=10)
    assert process.returncode == 143
    assert not (asyncsync_command.folder / "report.json").exists()


def test_after_sigkill_the_next_run_copies_only_what_was_missing(
    engine: Engine, registry: Registry, own_registry: Registry, relay: Relay, namespace: str,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    names = put_and_list(registry, relay, namespace, asyncsync_command.folder)
    to = ("--to", own_registry.host, "-c", "2")
    relay.throttle(2 * MIB)
    with asyncsync_command.started("sync", *to, engine=engine) as process:
        once(lambda: own_registry.tags("small") == ["1"] and relay.down > 2 * MIB)
        process.kill()
        process.communicate(timeout=10)
    log = (asyncsync_command.folder / "succeeded.log").read_text()
    assert all(line.count(" -> ") == 1 for line in log.splitlines())

    relay.throttle(None)
    mark = own_registry.mark()
    again = asyncsync_command("sync", *to, engine=engine, timeout=120)

    assert again.returncode == 0, again.stdout + again.stderr
    put = {r.path for r in own_registry.requests("PUT", "/manifests/", since=mark)}
    assert "/v2/small/manifests/1" not in put
    assert {f"/v2/{name}/manifests/1" for name in names[1:]} == put


@pytest.mark.parametrize("step", ["pull", "push"])
async def test_cancelling_leaves_the_engine_clean_within_five_seconds(
    engine: Engine, registry: Registry, own_registry: Registry, namespace: str, step: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    registry.put_image(f"{namespace}/big", "1", layers=2, size=16 * MIB)
    with Relay(registry.host) as source, Relay(own_registry.host) as target:
        slow = source if step == "pull" else target
        slow.throttle(2 * MIB)
        entries = [f"{source.host}/{namespace}/big:1"]
        with anyio.move_on_after(60) as scope:
            async with asyncsync.open_sync(
                entries, to=target.host, engine=engine.url, docker_config=tmp_path
            ) as run:
                await anyio.to_thread.run_sync(once, lambda: slow.up + slow.down > MIB)
                begun = time.monotonic()
                scope.cancel()
                await anyio.sleep_forever()
        assert time.monotonic() - begun < 5, "a bound that is promised to users"
        assert [outcome.status for outcome in run.report.outcomes] == [Status.CANCELLED]
        await anyio.to_thread.run_sync(partial(assert_still, engine, slow, lacks=24 * MIB))
        assert f"{target.host}/big:1" not in engine.images()
    assert own_registry.tags("big") == []
