"""The main job on real parts: a real engine, real registries; the judge is always somebody else."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest
from parts import images
from parts.commands import (
    Command,
    docker_config,
    outcomes,
    skopeo,
    statuses,
    write_list,
)
from parts.engine import Engine
from parts.podman import PodmanService
from parts.processes import program
from parts.registry import Registry
from parts.relay import Relay
from parts.scripted_engine import ScriptedEngine

pytestmark = pytest.mark.timeout(180)


def busybox() -> bytes:
    return Path(program("busybox") or "/bin/busybox").read_bytes()


def test_a_list_is_moved_as_the_script_would_have_moved_it(
    engine: Engine, registry: Registry, own_registry: Registry, namespace: str,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    base = [images.layer("base 1", 200_000), images.layer("base 2", 300_000)]
    shared = [
        registry.put_image(f"{namespace}/app{n}", "1.0", shared_layers=base, layers=1)
        for n in range(3)
    ]
    many = registry.put_image(f"{namespace}/deep/er/many-layers", "v1", layers=20, size=1000)
    docker_type = registry.put_image(f"{namespace}/old-type", "v1", oci=False)
    index = registry.put_index(f"{namespace}/multi", "v1", attestation=True)
    built = f"{registry.host}/{namespace}/built:latest"
    engine.build(
        built, "FROM scratch\nCOPY busybox /bin/busybox\nCMD [\"/bin/busybox\"]\n",
        {"busybox": busybox()},
    )  # fmt: skip
    engine.docker("push", "--quiet", built)
    engine.docker("rmi", built)
    at = f"{registry.host}/{namespace}"
    write_list(
        asyncsync_command.folder, "# what we need", "",
        f"{at}/app0:1.0", f"{at}/app1:1.0   # shares layers", f"  {at}/app2:1.0",
        f"{at}/deep/er/many-layers:v1", f"{at}/old-type:v1", f"{at}/multi:v1", f"{at}/built",
    )  # fmt: skip
    env = {"REGISTRY": own_registry.host, "NAMESPACE": "team"}

    done = asyncsync_command("sync", "--concurrency", "8", engine=engine, env=env, timeout=120)

    assert done.returncode == 0, done.stderr
    assert "via=engine" in done.stderr.splitlines()[0]
    assert done.stdout.splitlines()[-1].startswith("7 copied")
    for name, source in [("app0", shared[0]), ("app1", shared[1]), ("app2", shared[2])]:
        assert own_registry.config_digest_of(f"team/{name}", "1.0") == source.config_digest
    assert own_registry.config_digest_of("team/many-layers", "v1") == many.config_digest
    assert own_registry.config_digest_of("team/old-type", "v1") == docker_type.config_digest
    amd64 = index.children["linux/amd64"]
    assert own_registry.config_digest_of("team/multi", "v1") == amd64.config_digest
    told = (asyncsync_command.folder / "succeeded.log").read_text().splitlines()
    digests = {line.rpartition(" -> ")[2].split("@")[0]: line.rpartition("@")[2] for line in told}
    assert len(digests) == 7
    for target, digest in digests.items():
        seen = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{target}").stdout)
        assert seen["Digest"] == digest
    target = f"{own_registry.host}/team/built:latest"
    engine.docker("rmi", target)
    engine.docker("pull", "--quiet", target)


def test_where_an_engine_was_taken_unasked_one_line_says_what_the_direct_way_would_keep(
    engine: Engine, registry: Registry, own_registry: Registry, namespace: str,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    names = [f"{registry.host}/{namespace}/multi{n}:1" for n in range(3)]
    for n in range(3):
        registry.put_index(f"{namespace}/multi{n}", "1")
    write_list(asyncsync_command.folder, *names)
    to = ("--to", f"{own_registry.host}/team")
    unasked = asyncsync_command("sync", *to, engine=engine)
    asked = asyncsync_command("sync", *to, "--via", "engine", engine=engine)
    for done, advised in ((unasked, True), (asked, False)):
        assert done.returncode == 0, done.stderr
        (line,) = [line for line in done.stderr.splitlines() if "has 2 platforms" in line]
        assert "of this and of every other image" in line
        assert ("; --via direct copies all of them" in line) == advised


def test_a_second_run_moves_nothing_and_writes_nothing(
    engine: Engine, registry: Registry, own_registry: Registry, namespace: str,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    registry.put_image(f"{namespace}/a", "1", layers=2)
    registry.put_index(f"{namespace}/b", "2")
    at = f"{registry.host}/{namespace}"
    write_list(asyncsync_command.folder, f"{at}/a:1", f"{at}/b:2")
    to = ("--to", f"{own_registry.host}/team", "--output", "json")
    first = asyncsync_command("sync", *to, engine=engine)
    assert statuses(first.stdout) == {"a:1": "copied", "b:2": "copied"}

    mark, source_mark = own_registry.mark(), registry.mark()
    second = asyncsync_command("sync", *to, engine=engine)

    assert second.returncode == 0
    assert statuses(second.stdout) == {"a:1": "unchanged", "b:2": "unchanged"}
    assert {r.method for r in own_registry.requests(since=mark)} <= {"HEAD", "GET"}
    assert own_registry.requests("GET", "/blobs/", since=mark) == []
    assert registry.requests("GET", "/blobs/", since=source_mark) == []
    # Docker Hub counts these: what an image is made of, the engine still knows.
    assert registry.requests("GET", f"/{namespace}/a/manifests/", since=source_mark) == []
    assert len((asyncsync_command.folder / "succeeded.log").read_text().splitlines()) == 2


def test_an_image_that_moved_on_at_the_source_is_copied_again(
    engine: Engine, registry: Registry, own_registry: Registry, namespace: str,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    registry.put_image(f"{namespace}/a", "1", seed="first")
    write_list(asyncsync_command.folder, f"{registry.host}/{namespace}/a:1")
    asyncsync_command("sync", "--to", own_registry.host, engine=engine)
    second = registry.put_image(f"{namespace}/a", "1", seed="second")

    done = asyncsync_command("sync", "--to", own_registry.host, engine=engine)

    assert "1 copied" in done.stdout
    assert own_registry.config_digest_of("a", "1") == second.config_digest


def test_a_digest_chooses_the_source_and_the_tag_names_the_target(
    engine: Engine, registry: Registry, own_registry: Registry, namespace: str,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    old = registry.put_image(f"{namespace}/a", "1", seed="old")
    registry.put_image(f"{namespace}/a", "1", seed="new")
    at = f"{registry.host}/{namespace}/a"
    write_list(asyncsync_command.folder, f"{at}:pinned@{old.digest}", f"{at}@{old.digest}")

    done = asyncsync_command("sync", "--to", own_registry.host, engine=engine)

    assert done.returncode == 0, done.stdout + done.stderr
    by_digest = f"sha256.{old.digest.removeprefix('sha256:')}"
    assert own_registry.tags("a") == sorted(["pinned", by_digest])
    assert own_registry.config_digest_of("a", "pinned") == old.config_digest


def test_the_platform_asked_for_is_the_one_that_arrives(
    engine: Engine, registry: Registry, own_registry: Registry, namespace: str,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    index = registry.put_index(f"{namespace}/multi", "v1", attestation=True)
    registry.put_image(f"{namespace}/single", "v1", platform="linux/amd64")
    at = f"{registry.host}/{namespace}"
    write_list(asyncsync_command.folder, f"{at}/multi:v1", f"{at}/single:v1")

    done = asyncsync_command(
        "sync", "--to", own_registry.host, "--platform", "linux/arm64", "--output", "json",
        engine=engine,
    )  # fmt: skip

    arm64 = index.children["linux/arm64"]
    assert own_registry.config_digest_of("multi", "v1") == arm64.config_digest
    failed = outcomes(done.stdout)["single:v1"]
    assert failed["status"] == "failed"
    assert failed["error"]["kind"] == "NoSuchPlatform"
    assert own_registry.tags("single") == []


def test_two_platforms_of_one_tag_do_not_disturb_each_other(
    engine: Engine, registry: Registry, own_registry: Registry, namespace: str,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    index = registry.put_index(f"{namespace}/multi", "v1", size=2_000_000)
    write_list(asyncsync_command.folder, f"{registry.host}/{namespace}/multi:v1")
    runs = {
        platform: ("sync", "--to", f"{own_registry.host}/{name}", "--platform", platform)
        for platform, name in (("linux/amd64", "amd"), ("linux/arm64", "arm"))
    }
    with (
        asyncsync_command.started(*runs["linux/amd64"], engine=engine) as one,
        asyncsync_command.started(*runs["linux/arm64"], engine=engine) as other,
    ):
        for process in (one, other):
            out, err = process.communicate(timeout=90)
            assert process.returncode == 0, out + err
    for platform, name in (("linux/amd64", "amd"), ("linux/arm64", "arm")):
        config = own_registry.config_digest_of(f"{name}/multi", "v1")
        assert config == index.children[platform].config_digest


def test_logins_of_the_variables_and_of_docker_login_are_used(
    engine: Engine, locked_registry: Registry, own_registry: Registry, namespace: str,
    asyncsync_command: Command, tmp_path: Path,
) -> None:  # fmt: skip
    image = locked_registry.put_image(f"{namespace}/a", "1")
    user, password = str(locked_registry.user), locked_registry.password
    config = docker_config(tmp_path, {locked_registry.host: (user, password)})
    write_list(asyncsync_command.folder, f"{locked_registry.host}/{namespace}/a:1")
    logged_in = {"DOCKER_CONFIG": str(config)}

    out = asyncsync_command("sync", "--to", own_registry.host, engine=engine, env=logged_in)
    assert out.returncode == 0, out.stdout + out.stderr

    write_list(asyncsync_command.folder, f"{own_registry.host}/a:1")
    variables = {
        "REGISTRY": locked_registry.host, "NAMESPACE": f"{namespace}/back",
        "REGISTRY_USER": user, "REGISTRY_PASSWORD": password,
    }  # fmt: skip
    back = asyncsync_command("sync", engine=engine, env=variables)
    assert back.returncode == 0, back.stdout + back.stderr
    assert locked_registry.config_digest_of(f"{namespace}/back/a", "1") == image.config_digest
    assert password not in out.stdout + out.stderr + back.stdout + back.stderr


def test_clean_leaves_the_engine_as_it_was_and_touches_nothing_of_others(
    engine: Engine, registry: Registry, own_registry: Registry, namespace: str,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    at = f"{registry.host}/{namespace}"
    mine = registry.put_image(f"{namespace}/mine", "1")
    registry.put_image(f"{namespace}/other", "1")
    registry.put_image(f"{namespace}/same", "1", seed="same")
    registry.put_image(f"{namespace}/same", "2", seed="same")
    engine.docker("pull", "--quiet", f"{at}/mine:1")
    engine.docker("tag", f"{at}/mine:1", "keep-me:1")
    before = engine.images()
    write_list(
        asyncsync_command.folder,
        f"{at}/mine:1", f"{at}/other:1", f"{at}/same:1", f"{at}/same:2",
    )  # fmt: skip

    done = asyncsync_command("sync", "--to", own_registry.host, "--clean", engine=engine)

    assert done.returncode == 0, done.stdout + done.stderr
    assert engine.images() == before
    assert own_registry.config_digest_of("mine", "1") == mine.config_digest
    assert own_registry.tags("same") == ["1", "2"]


def test_without_clean_the_engine_keeps_the_images_as_the_script_left_them(
    engine: Engine, registry: Registry, own_registry: Registry, namespace: str,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    registry.put_image(f"{namespace}/a", "1")
    write_list(asyncsync_command.folder, f"{registry.host}/{namespace}/a:1")
    asyncsync_command("sync", "--to", f"{own_registry.host}/team", engine=engine)
    assert f"{own_registry.host}/team/a:1" in engine.images()


def test_a_mistake_in_the_list_asks_neither_engine_nor_registry(
    registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    registry.put_image(f"{namespace}/a", "1")
    with Relay(registry.host) as link, ScriptedEngine() as engine:
        write_list(
            asyncsync_command.folder, f"{link.host}/{namespace}/a:1", "Nginx:1.27",
            f"{link.host}/other/a:1",
        )  # fmt: skip
        mark = registry.mark()

        done = asyncsync_command("sync", "--to", f"{link.host}/team", engine=engine)

        assert done.returncode == 2
        assert "images.yaml:2:1: " in done.stderr
        assert "Nothing was copied." in done.stderr
        assert "Traceback" not in done.stderr
        assert link.opened == 0
        assert registry.requests(since=mark) == []
        assert engine.requests == []
        assert not (asyncsync_command.folder / "succeeded.log").exists()


def test_a_collision_in_the_plan_asks_nobody_either(
    registry: Registry, asyncsync_command: Command
) -> None:
    with Relay(registry.host) as link, ScriptedEngine() as engine:
        write_list(asyncsync_command.folder, f"{link.host}/x/a:1", f"{link.host}/y/a:1")
        done = asyncsync_command("sync", "--to", f"{link.host}/team", engine=engine)
        assert done.returncode == 2
        assert "images.yaml:2:1" in done.stderr
        assert "images.yaml:1:1" in done.stderr
        assert link.opened == 0
        assert engine.requests == []


def test_podmans_socket_does_the_same_job(
    podman: PodmanService, registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    index = registry.put_index(f"{namespace}/multi", "v1", attestation=True)
    single = registry.put_image(f"{namespace}/single", "v1")
    at, before = f"{registry.host}/{namespace}", podman.images()
    write_list(asyncsync_command.folder, f"{at}/multi:v1", f"{at}/single:v1", f"{at}/missing:v1")

    done = asyncsync_command(
        "sync", "--to", f"{at}/to", "--output", "json", "--clean", engine=podman
    )

    assert done.returncode == 1, done.stderr
    assert statuses(done.stdout) == {
        "multi:v1": "copied", "single:v1": "copied", "missing:v1": "failed"
    }  # fmt: skip
    amd64 = index.children["linux/amd64"]
    assert registry.config_digest_of(f"{namespace}/to/multi", "v1") == amd64.config_digest
    assert registry.config_digest_of(f"{namespace}/to/single", "v1") == single.config_digest
    assert podman.images() == before


def test_the_engine_that_docker_contexts_name_is_found(
    engine: Engine, registry: Registry, own_registry: Registry, namespace: str,
    asyncsync_command: Command, tmp_path: Path,
) -> None:  # fmt: skip
    registry.put_image(f"{namespace}/a", "1")
    write_list(asyncsync_command.folder, f"{registry.host}/{namespace}/a:1")
    config = tmp_path / "context-config"
    config.mkdir()
    engine.docker("context", "create", "mine", "--docker", f"host={engine.url}", config=config)
    env = {"DOCKER_HOST": "", "DOCKER_CONTEXT": "mine", "DOCKER_CONFIG": str(config)}
    done = asyncsync_command("sync", "--to", own_registry.host, env=env)
    assert done.returncode == 0, done.stderr


def test_an_image_of_a_registry_that_only_the_engine_reaches_is_pulled_by_tag(
    engine: Engine, tls_registry: Registry, own_registry: Registry, namespace: str,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    image = tls_registry.put_image(f"{namespace}/a", "1")
    write_list(asyncsync_command.folder, f"{tls_registry.host}/{namespace}/a:1")

    # The engine takes loopback without looking at certificates; we do look, and find no trust.
    done = asyncsync_command("sync", "--to", own_registry.host, engine=engine)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "pulls by tag" in done.stderr
    assert own_registry.config_digest_of("a", "1") == image.config_digest

    again = asyncsync_command(
        "sync", "--to", own_registry.host, "--ca-file", str(tls_registry.ca_file), engine=engine
    )
    assert "pulls by tag" not in again.stderr


def test_registries_are_asked_through_the_proxy_that_the_variables_name(
    asyncsync_command: Command,
) -> None:
    write_list(asyncsync_command.folder, "far.invalid/team/a:1")
    listener = socket.create_server(("127.0.0.1", 0))
    asked: list[bytes] = []

    def proxy() -> None:
        client, _ = listener.accept()
        with client:
            asked.append(client.recv(4096))
            client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    thread = threading.Thread(target=proxy, daemon=True)
    thread.start()
    env = {"HTTPS_PROXY": f"http://127.0.0.1:{listener.getsockname()[1]}"}
    with ScriptedEngine() as engine, listener:
        asyncsync_command("sync", "--to", "127.0.0.1:9", "--retries", "0", engine=engine, env=env)
        thread.join(10)
    assert asked
    assert asked[0].startswith(b"CONNECT far.invalid:443 ")


def test_an_engine_with_containerds_store_does_the_same_job_and_keeps_manifests(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command,
    tmp_path: Path,
) -> None:  # fmt: skip
    index = registry.put_index(f"{namespace}/multi", "v1", attestation=True)
    single = registry.put_image(f"{namespace}/single", "v1")
    at = f"{registry.host}/{namespace}"
    write_list(asyncsync_command.folder, f"{at}/multi:v1", f"{at}/single:v1")
    with Engine(tmp_path / "dockerd.log", containerd_store=True) as engine:
        keeps = ["driver-type", "io.containerd.snapshotter.v1"] in (
            engine.ask("GET", "/info").get("DriverStatus") or []
        )
        to = ("--to", own_registry.host, "--clean", "--output", "json")
        done = asyncsync_command("sync", *to, engine=engine)
        assert statuses(done.stdout) == {"multi:v1": "copied", "single:v1": "copied"}, done.stdout
        assert engine.images() == set()
        again = asyncsync_command("sync", *to, engine=engine)
        assert statuses(again.stdout) == {"multi:v1": "unchanged", "single:v1": "unchanged"}
    amd64 = index.children["linux/amd64"]
    for name, image in (("multi", amd64), ("single", single)):
        assert own_registry.config_digest_of(name, "v1") == image.config_digest
        assert (
            own_registry.digest_of(name, "v1") == image.digest
        ) is keeps  # engines before 23: no
