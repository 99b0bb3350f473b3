"""The direct way, stopped half-way or standing still: no image is half there, the rest goes on."""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from parts import images
from parts.commands import Command, write_list
from parts.judging import assert_whole, blobs_of
from parts.processes import once
from parts.registry import Registry
from parts.relay import Relay

import asyncsync
from asyncsync import Status
from asyncsync.credentials import Credentials
from asyncsync.model.access import Access
from asyncsync.model.events import ignore
from asyncsync.retrying import Retrying
from asyncsync.stores.registry.client import RegistryClient
from asyncsync.transports.direct.pace import Pace
from asyncsync.transports.direct.transport import DirectTransport

pytestmark = [pytest.mark.registry, pytest.mark.timeout(120)]

MIB = 1024 * 1024
NAMES = ("small", "big0", "big1", "big2")


def put_images(registry: Registry, namespace: str) -> None:
    """One small image that is through at once, and three big ones."""
    registry.put_image(f"{namespace}/small", "1", size=1000)
    for name in NAMES[1:]:
        registry.put_index(f"{namespace}/{name}", "1", attestation=True, size=MIB)


def entries(host: str, namespace: str) -> list[str]:
    return [f"{host}/{namespace}/{name}:1" for name in NAMES]


@pytest.mark.parametrize("stalled", [False, True], ids=["moving", "standing still"])
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"]
)
def test_a_signal_ends_the_run_in_order_and_the_next_run_goes_on(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command,
    number: signal.Signals, code: int, stalled: bool,
) -> None:  # fmt: skip
    put_images(registry, namespace)
    folder = asyncsync_command.folder
    with Relay(registry.host) as source, Relay(own_registry.host) as link:
        small, *big = entries(registry.host, namespace)
        write_list(folder, small, *(each.replace(registry.host, source.host) for each in big))
        source.pause()
        sync = ("sync", "--via", "direct", "--to", link.host)
        with asyncsync_command.started(
            *sync, "-c", "2", "--report", "r.json", "--failed-list", "left.yaml"
        ) as process:
            log = folder / "succeeded.log"
            once(lambda: log.exists() and "/small:1" in log.read_text())
            link.throttle(MIB / 2)  # four seconds for one of the others
            before = link.up
            source.resume()
            once(lambda: link.up > before + MIB / 4)
            if stalled:
                link.pause()
            process.send_signal(number)
            begun = time.monotonic()
            out, err = process.communicate(timeout=30)
            took = time.monotonic() - begun
        assert process.returncode == code, out + err
        assert took < 5, "a bound that is promised to users"
        told = [
            (o["target"].rpartition("/")[2], o["status"])
            for o in json.loads((folder / "r.json").read_text())["outcomes"]
        ]
        assert [name for name, _ in told] == [f"{name}:1" for name in NAMES]
        assert Counter(status for _, status in told) == {
            "copied": 1, "cancelled": 2, "not_started": 1,
        }  # fmt: skip
        assert (folder / "left.yaml").read_text().count(f"{namespace}/big") >= 3
        assert_whole(own_registry, NAMES)
        assert sum(len(own_registry.tags(name)) for name in NAMES) == 1

        link.resume()
        link.throttle(None)
        again = asyncsync_command(*sync)
        assert again.returncode == 0, again.stdout + again.stderr
        assert again.stdout.splitlines()[-1].startswith("3 copied, 1 unchanged")
    assert_whole(own_registry, NAMES)


def test_after_sigkill_the_next_run_moves_only_what_was_missing(
    registry: Registry, own_registry: Registry, relay: Relay, namespace: str,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    put_images(registry, namespace)
    *listed, last = entries(registry.host, namespace)
    write_list(asyncsync_command.folder, *listed, last.replace(registry.host, relay.host))
    sync = ("sync", "--via", "direct", "--to", own_registry.host, "--output", "json")
    # The source is held up, not the target: a link would go on to deliver what it has taken.
    relay.pause_after(MIB // 2)
    with asyncsync_command.started(*sync) as process:
        once(lambda: relay.paused and all(own_registry.tags(name) == ["1"] for name in NAMES[:-1]))
        process.kill()
        process.communicate(timeout=10)
    own_registry.stop()  # or it might still put away what has just arrived
    own_registry.start()
    relay.resume()
    assert_whole(own_registry, NAMES)
    wanted: dict[str, int] = {}
    for name in NAMES:
        wanted |= blobs_of(registry, f"{namespace}/{name}", "1")
    missing = {
        digest: size for digest, size in wanted.items()
        if not any(own_registry.has_blob(name, digest) for name in NAMES)
    }  # fmt: skip
    assert 0 < len(missing) < len(wanted)
    again = asyncsync_command(*sync)
    assert again.returncode == 0, again.stdout + again.stderr
    assert json.loads(again.stdout)["bytes_moved"] == sum(missing.values())
    assert_whole(own_registry, NAMES)


async def test_leaving_the_block_ends_every_transfer_and_closes_every_connection(
    registry: Registry, own_registry: Registry, namespace: str, tmp_path: Path
) -> None:
    put_images(registry, namespace)
    with Relay(registry.host) as source, Relay(own_registry.host) as target:
        target.throttle(MIB)
        before = anyio.get_current_task().id, len(anyio.get_running_tasks())
        with pytest.raises(LookupError):
            async with asyncsync.open_sync(
                entries(source.host, namespace), to=target.host, via="direct",
                docker_config=tmp_path,
            ) as run:  # fmt: skip
                await anyio.to_thread.run_sync(once, lambda: target.up > MIB)
                raise LookupError
        assert (anyio.get_current_task().id, len(anyio.get_running_tasks())) == before
        assert len(run.report.outcomes) == len(NAMES)
        assert Status.CANCELLED in {outcome.status for outcome in run.report.outcomes}
        target.throttle(None)  # what is on its way in the link itself is not ours any more
        await anyio.to_thread.run_sync(once, lambda: source.open + target.open == 0)
    assert_whole(own_registry, NAMES)


@pytest.mark.parametrize("side", ["source", "target"])
async def test_who_stands_still_is_named_and_not_waited_for_without_end(
    registry: Registry, own_registry: Registry, namespace: str, tmp_path: Path, side: str
) -> None:
    registry.put_image(f"{namespace}/a", "1", layers=1, size=4 * MIB)
    with Relay(registry.host) as source, Relay(own_registry.host) as target:
        slow = source if side == "source" else target
        slow.pause_after(MIB)
        (job,) = (await asyncsync.plan([f"{source.host}/{namespace}/a:1"], to=target.host)).jobs
        access = Access(plain_http=frozenset({source.host, target.host}))
        nobody = Credentials.load({}, docker_config=tmp_path)
        async with RegistryClient(access, nobody, idle_seconds=1.5) as client:
            transport = DirectTransport(
                client, client, retrying=Retrying(0), pace=Pace(None), idle_seconds=2
            )
            with pytest.raises(asyncsync.TimedOut) as caught:
                await transport(job, ignore)
        assert slow.paused
        assert caught.value.where.registry == slow.host
    assert own_registry.tags("a") == []


@pytest.mark.parametrize("seed", range(6))
async def test_however_a_run_is_broken_off_only_whole_images_are_there_and_the_next_completes(
    registry: Registry, own_registry: Registry, namespace: str, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311
    shared = images.layer(f"{namespace} shared", 100_000)
    names = [f"app{n}" for n in range(5)]
    for name in names[:3]:
        registry.put_image(f"{namespace}/{name}", "1", layers=2, shared_layers=[shared])
    for name in names[3:]:
        registry.put_index(f"{namespace}/{name}", "1", attestation=True, size=100_000)
    with Relay(registry.host) as source, Relay(own_registry.host) as target:
        wanted = [f"{source.host}/{namespace}/{name}:1" for name in names]
        at = {"via": "direct", "docker_config": tmp_path, "retries": 0}
        links = (source, target)
        for _ in range(8):
            link, count = chance.choice(links), chance.randrange(400_000)
            begun = source.up + source.down + target.up + target.down

            def passed(begun: int = begun, count: int = count) -> bool:
                moved = source.up + source.down + target.up + target.down
                return moved - begun > count

            async with asyncsync.open_sync(wanted, to=target.host, **at) as run:  # type: ignore[arg-type]
                if chance.random() < 0.4:
                    link.cut_after(count)
                    async for _ in run:
                        pass
                else:
                    for _ in range(2000):
                        if passed() or run.report.ok:
                            break
                        await anyio.sleep(0.001)
                    if chance.random() < 0.5:
                        run.stop()
                        async for _ in run:
                            pass
            assert len(run.report.outcomes) == len(names)
            assert_whole(own_registry, names)
        source.cut()
        target.cut()
        report = await asyncsync.sync(
            wanted, to=own_registry.host, via="direct", docker_config=tmp_path
        )
        assert report.ok, report
    assert_whole(own_registry, names)
    for name in names:
        digest = registry.digest_of(f"{namespace}/{name}", "1")
        assert own_registry.digest_of(name, "1") == digest
