"""What goes wrong in the real world, done to real parts. Each image still has one true outcome."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from parts.commands import Command, outcomes, write_list
from parts.engine import Engine
from parts.processes import once
from parts.registry import Registry
from parts.relay import Relay

pytestmark = pytest.mark.timeout(240)

MIB = 1024 * 1024


def later(condition: Callable[[], bool], act: Callable[[], None]) -> threading.Thread:
    """In a thread: wait until it is so, then act."""

    def run() -> None:
        once(condition)
        act()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_a_tag_that_does_not_exist_is_named_with_its_line(
    engine: Engine, registry: Registry, own_registry: Registry, namespace: str,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    registry.put_image(f"{namespace}/redis", "7")
    at = f"{registry.host}/{namespace}"
    write_list(asyncsync_command.folder, f"{at}/redis:7", f"{at}/redis:7.99", f"{at}/gone:1")

    done = asyncsync_command("sync", "--to", own_registry.host, engine=engine)

    assert done.returncode == 1
    assert f"{at}/redis has no tag 7.99" in done.stdout
    assert "images.yaml:2" in done.stdout
    assert "Correct the name or the tag" in done.stdout
    assert done.stdout.count("copied") >= 1
    assert own_registry.tags("redis") == ["7"]


def test_a_wrong_password_fails_before_anything_is_pulled(
    engine: Engine, registry: Registry, locked_registry: Registry, namespace: str,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    registry.put_image(f"{namespace}/a", "1")
    write_list(asyncsync_command.folder, f"{registry.host}/{namespace}/a:1")
    mark = registry.mark()
    env = {
        "REGISTRY": locked_registry.host, "REGISTRY_USER": "tester",
        "REGISTRY_PASSWORD": "wr0ng-canary",
    }  # fmt: skip

    done = asyncsync_command("sync", "--output", "json", engine=engine, env=env)

    error = outcomes(done.stdout)["a:1"]["error"]
    assert error["kind"] == "AuthenticationFailed"
    assert error["registry"] == locked_registry.host
    assert f"docker login {locked_registry.host}" in error["advice"]
    assert registry.requests("GET", "/blobs/", since=mark) == []
    assert "wr0ng" not in done.stdout + done.stderr


def test_a_target_that_is_down_fails_before_anything_is_pulled(
    engine: Engine, registry: Registry, own_registry: Registry, namespace: str,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    registry.put_image(f"{namespace}/a", "1")
    write_list(asyncsync_command.folder, f"{registry.host}/{namespace}/a:1")
    own_registry.stop()
    mark = registry.mark()

    done = asyncsync_command(
        "sync", "--to", own_registry.host, "--output", "json", "--retries", "1", engine=engine
    )

    assert done.returncode == 1
    error = outcomes(done.stdout)["a:1"]["error"]
    assert error["kind"] == "RegistryUnavailable"
    assert error["registry"] == own_registry.host
    assert registry.requests("GET", "/blobs/", since=mark) == []


@pytest.mark.parametrize("via", ["engine", "direct"])
def test_a_target_that_takes_no_pushes_costs_its_source_one_image(
    engine: Engine, registry: Registry, namespace: str, tmp_path: Path, via: str,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    names = [f"app{n}" for n in range(6)]
    for name in names:
        registry.put_image(f"{namespace}/{name}", "1")
    write_list(asyncsync_command.folder, *(f"{registry.host}/{namespace}/{n}:1" for n in names))
    mark = registry.mark()
    with Registry(tmp_path / "read-only", read_only=True) as target:
        arguments = ("--to", target.host, "-c", "1", "--via", via)
        done = asyncsync_command("sync", *arguments, engine=engine)

    assert done.returncode == 1
    for name in names[1:]:
        assert registry.requests("GET", f"{namespace}/{name}/", since=mark) == []
    assert registry.requests("GET", f"{namespace}/{names[0]}/", since=mark)
    assert done.stdout.count("takes no pushes") == 1, done.stdout
    assert "6 failed. Nothing was moved" in done.stdout or "6 failed. 33" in done.stdout


def test_a_registry_that_dies_half_way_in_a_push_and_comes_back_gets_the_image(
    engine: Engine, registry: Registry, own_registry: Registry, namespace: str,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    image = registry.put_image(f"{namespace}/big", "1", layers=2, size=6 * MIB)
    write_list(asyncsync_command.folder, f"{registry.host}/{namespace}/big:1")
    with Relay(own_registry.host) as link:
        link.pause_after(2 * MIB)

        def restart() -> None:
            own_registry.kill()
            link.resume()
            own_registry.start()

        fault = later(lambda: link.paused, restart)
        done = asyncsync_command(
            "sync", "--to", link.host, "--output", "json", engine=engine, timeout=200
        )
        fault.join()
    assert outcomes(done.stdout)["big:1"]["status"] == "copied", done.stdout
    assert own_registry.config_digest_of("big", "1") == image.config_digest


def test_a_registry_that_dies_half_way_and_stays_away_shows_nothing_under_the_tag(
    engine: Engine, registry: Registry, own_registry: Registry, namespace: str,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    registry.put_image(f"{namespace}/big", "1", layers=2, size=6 * MIB)
    write_list(asyncsync_command.folder, f"{registry.host}/{namespace}/big:1")
    with Relay(own_registry.host) as link:
        link.pause_after(2 * MIB)

        def die() -> None:
            own_registry.kill()
            link.resume()

        fault = later(lambda: link.paused, die)
        done = asyncsync_command(
            "sync", "--to", link.host, "--output", "json", "--retries", "0",
            engine=engine, timeout=200,
        )  # fmt: skip
        fault.join()
        target = f"{link.host}/big:1"
    error = outcomes(done.stdout)["big:1"]["error"]
    assert error["kind"] == "RegistryUnavailable", error
    assert error["step"] == "push"
    assert target not in engine.images()
    own_registry.start()
    assert own_registry.tags("big") == []


def test_an_engine_killed_half_way_in_a_pull_and_back_after_three_seconds_is_waited_for(
    own_engine: Engine, registry: Registry, own_registry: Registry, namespace: str,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    images = [
        registry.put_image(f"{namespace}/big{n}", "1", layers=2, size=4 * MIB) for n in range(3)
    ]
    with Relay(registry.host) as link:
        write_list(
            asyncsync_command.folder, *(f"{link.host}/{namespace}/big{n}:1" for n in range(3))
        )
        link.pause_after(2 * MIB)

        def restart() -> None:
            own_engine.kill()
            link.resume()
            time.sleep(3)
            own_engine.start()

        fault = later(lambda: link.paused, restart)
        done = asyncsync_command(
            "sync", "--to", own_registry.host, "--output", "json", engine=own_engine, timeout=200
        )
        fault.join()
    told = outcomes(done.stdout)
    assert {o["status"] for o in told.values()} == {"copied"}, done.stdout
    assert max(int(str(o["attempts"])) for o in told.values()) > 1
    for n, image in enumerate(images):
        assert own_registry.config_digest_of(f"big{n}", "1") == image.config_digest


def test_an_engine_gone_for_good_ends_the_run_with_every_image_told(
    own_engine: Engine, registry: Registry, own_registry: Registry, namespace: str,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    for n in range(4):
        registry.put_image(f"{namespace}/big{n}", "1", size=4 * MIB)
    with Relay(registry.host) as link:
        write_list(
            asyncsync_command.folder, *(f"{link.host}/{namespace}/big{n}:1" for n in range(4))
        )
        link.pause_after(2 * MIB)
        fault = later(lambda: link.paused, own_engine.kill)
        done = asyncsync_command(
            "sync", "--to", own_registry.host, "-c", "2", "--retries", "1", "--output", "json",
            "--failed-list", "failed.yaml", engine=own_engine, timeout=200,
        )  # fmt: skip
        fault.join()
    assert done.returncode == 1
    told = outcomes(done.stdout)
    assert len(told) == 4
    lost = [o["error"] for o in told.values() if o["status"] == "failed"]
    assert {error["kind"] for error in lost} == {"EngineLost"}
    assert {o["status"] for o in told.values()} >= {"failed", "not_started"}
    left = (asyncsync_command.folder / "failed.yaml").read_text()
    assert left.count(f"{namespace}/big") >= 4


def test_an_engine_that_was_never_there_moves_nothing(
    registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    registry.put_image(f"{namespace}/a", "1")
    write_list(asyncsync_command.folder, f"{registry.host}/{namespace}/a:1")
    mark = registry.mark()

    done = asyncsync_command("sync", "--to", f"{registry.host}/to", "--via", "engine")

    assert done.returncode == 2
    assert "No Docker Engine answers at unix://" in done.stderr
    assert "no such file" in done.stderr
    assert done.stdout == ""
    assert registry.requests(since=mark) == []


def test_a_full_disk_of_the_engine_ends_the_run_and_the_next_one_goes_on(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command,
    tmp_path: Path,
) -> None:  # fmt: skip
    registry.put_image(f"{namespace}/small", "1")
    registry.put_image(f"{namespace}/huge", "1", layers=3, size=40 * MIB)
    registry.put_image(f"{namespace}/next", "1")
    at = f"{registry.host}/{namespace}"
    write_list(asyncsync_command.folder, f"{at}/small:1", f"{at}/huge:1", f"{at}/next:1")
    with Engine(tmp_path / "full.log", tmpfs="80m") as engine:
        done = asyncsync_command(
            "sync", "--to", own_registry.host, "-c", "1", "--output", "json", engine=engine,
            timeout=200,
        )  # fmt: skip
        told = outcomes(done.stdout)
        assert told["huge:1"]["error"]["kind"] == "DiskFull", done.stdout
        assert told["small:1"]["status"] == "copied"
        assert told["next:1"]["status"] == "not_started"
        write_list(asyncsync_command.folder, f"{at}/small:1", f"{at}/next:1")
        again = asyncsync_command(
            "sync", "--to", own_registry.host, "--output", "json", engine=engine, timeout=200
        )
        assert {k: o["status"] for k, o in outcomes(again.stdout).items()} == {
            "small:1": "unchanged", "next:1": "copied"
        }  # fmt: skip


@pytest.mark.parametrize("fail_fast", [False, True], ids=["keep-going", "fail-fast"])
def test_a_list_of_mixed_fates(
    engine: Engine, registry: Registry, own_registry: Registry, namespace: str,
    asyncsync_command: Command, fail_fast: bool,
) -> None:  # fmt: skip
    at = f"{registry.host}/{namespace}"
    registry.put_image(f"{namespace}/a", "1")
    registry.put_image(f"{namespace}/c", "1")
    write_list(asyncsync_command.folder, f"{at}/a:1", f"{at}/b:1", f"{at}/c:1")
    flags = ("--fail-fast",) if fail_fast else ()

    done = asyncsync_command(
        "sync", "--to", own_registry.host, "-c", "1", *flags, "--output", "json",
        "--failed-list", "failed.yaml", engine=engine,
    )  # fmt: skip

    assert done.returncode == 1
    last = "not_started" if fail_fast else "copied"
    assert {k: o["status"] for k, o in outcomes(done.stdout).items()} == {
        "a:1": "copied", "b:1": "failed", "c:1": last
    }  # fmt: skip
    registry.put_image(f"{namespace}/b", "1")
    again = asyncsync_command(
        "sync", "failed.yaml", "--to", own_registry.host, "--output", "json", engine=engine
    )
    assert again.returncode == 0, again.stderr
    assert set(outcomes(again.stdout)) == ({"b:1", "c:1"} if fail_fast else {"b:1"})
    assert own_registry.tags("c") == ["1"]


def test_two_runs_at_once_on_one_engine_both_complete(
    engine: Engine, registry: Registry, own_registry: Registry, namespace: str,
    asyncsync_command: Command, tmp_path: Path,
) -> None:  # fmt: skip
    at = f"{registry.host}/{namespace}"
    names = [f"app{n}" for n in range(6)]
    for name in names:
        registry.put_image(f"{namespace}/{name}", "1", size=MIB)
    other = Command(tmp_path / "other")
    other.folder.mkdir()
    for command in (asyncsync_command, other):
        write_list(command.folder, *(f"{at}/{name}:1" for name in names))
    arguments = ("sync", "--to", own_registry.host, "--clean", "--output", "json")
    with (
        asyncsync_command.started(*arguments, engine=engine) as one,
        other.started(*arguments, engine=engine) as two,
    ):
        for process in (one, two):
            out, err = process.communicate(timeout=150)
            assert process.returncode == 0, out + err
    for name in names:
        assert own_registry.tags(name) == ["1"]
