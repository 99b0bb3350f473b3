"""`asyncsync serve` under the programs that people use: docker, podman, skopeo, and ourselves."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from parts import images
from parts.asking import ask
from parts.commands import Command, docker_config, skopeo, statuses, write_list
from parts.engine import Engine
from parts.podman import PodmanService
from parts.processes import PartFailed, once
from parts.referrers import NOTARY, fallback_tag, put_referrer
from parts.registry import Registry
from parts.serve import ServedFolder

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ServedFolder]:
    with ServedFolder(tmp_path / "served") as served:
        yield served


def test_skopeo_pushes_to_it_and_pulls_from_it(
    registry: Registry, served: ServedFolder, namespace: str, tmp_path: Path
) -> None:
    index = registry.put_index(f"{namespace}/multi", "v1", attestation=True)
    skopeo(
        "copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false",
        f"docker://{registry.host}/{namespace}/multi:v1", f"docker://{served.host}/team/multi:v1",
    )  # fmt: skip
    assert served.digest_of("team/multi", "v1") == index.digest
    skopeo(
        "copy", "--all", "--src-tls-verify=false",
        f"docker://{served.host}/team/multi:v1", f"dir:{tmp_path / 'pulled'}",
    )  # fmt: skip
    pulled = (tmp_path / "pulled" / "manifest.json").read_bytes()
    assert images.digest_of(pulled) == index.digest
    skopeo("inspect", "--raw", f"oci:{served.data}:team/multi:v1")


def test_docker_pushes_to_it_and_pulls_from_it(engine: Engine, served: ServedFolder) -> None:
    image = served.put_image("team/app", "1", layers=3, oci=False)
    name = f"{served.host}/team/app"
    engine.docker("pull", f"{name}:1")
    engine.docker("tag", f"{name}:1", f"{name}:2")
    engine.docker("push", f"{name}:2")
    assert served.config_digest_of("team/app", "2") == image.config_digest


@pytest.mark.engine
def test_an_engine_with_containerd_s_store_reaches_it_without_any_setting(
    served: ServedFolder, tmp_path: Path
) -> None:
    """It tries TLS first, and falls back to plain HTTP only on a plain answer.

    An engine before 23 has no such store, and gets there with its own.
    """
    image = served.put_index("team/multi", "1")
    with Engine(tmp_path / "dockerd.log", containerd_store=True) as engine:
        name = f"{served.host}/team/multi"
        engine.docker("pull", f"{name}:1")
        told = engine.docker("inspect", "--format", "{{json .RepoDigests}}", f"{name}:1").stdout
        assert json.loads(told) == [f"{name}@{image.digest}"]
        engine.docker("tag", f"{name}:1", f"{name}:2")
        engine.docker("push", f"{name}:2")
    assert served.digest_of("team/multi", "2") is not None


def test_what_docker_pulls_from_an_export_has_the_digest_that_its_source_had(
    engine: Engine, registry: Registry, namespace: str, tmp_path: Path, asyncsync_command: Command
) -> None:
    source = registry.put_index(f"{namespace}/multi", "v1", attestation=True)
    write_list(asyncsync_command.folder, f"{registry.host}/{namespace}/multi:v1")
    export = tmp_path / "served" / "data"
    export.parent.mkdir()
    done = asyncsync_command("sync", "--to", f"oci:{export}")
    assert done.returncode == 0, done.stderr
    with ServedFolder(tmp_path / "served", "--read-only") as served:
        name = f"{served.host}/multi"
        engine.docker("pull", f"{name}:v1")
        shown = ("inspect", "--format", "{{json .RepoDigests}}", f"{name}:v1")
        assert json.loads(engine.docker(*shown).stdout) == [f"{name}@{source.digest}"]


def test_an_image_of_dockers_types_is_handed_out_where_others_do_not_find_it_in_the_folder(
    served: ServedFolder, tmp_path: Path
) -> None:
    """Others look in a layout for OCI's types alone, and an image's bytes are not ours to alter."""
    image = served.put_image("app", "1", oci=False)
    with pytest.raises(PartFailed, match="no descriptor found"):
        skopeo("inspect", "--raw", f"oci:{served.data}:app:1")
    there = f"docker://{served.host}/app:1"
    told = skopeo("inspect", "--raw", "--tls-verify=false", there).stdout
    assert images.digest_of(told.encode()) == image.digest
    with pytest.raises(PartFailed, match="HTTP response to HTTPS client"):
        skopeo("inspect", "--raw", there)


def test_what_is_pushed_to_it_can_be_carried_on(
    registry: Registry, served: ServedFolder, namespace: str, asyncsync_command: Command
) -> None:
    index = served.put_index("team/multi", "v1", attestation=True)
    image = served.put_image("team/app", "2", oci=False)
    write_list(asyncsync_command.folder, "team/multi:v1", "team/app:2")
    to = ("--to", f"{registry.host}/{namespace}")
    done = asyncsync_command("sync", "--from", f"oci:{served.data}", *to)
    assert done.returncode == 0, done.stdout + done.stderr
    assert registry.digest_of(f"{namespace}/multi", "v1") == index.digest
    assert registry.digest_of(f"{namespace}/app", "2") == image.digest


def test_podman_pushes_to_it_and_pulls_from_it(
    registry: Registry, served: ServedFolder, namespace: str, tmp_path: Path,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    image = registry.put_image(f"{namespace}/app", "1", layers=3)
    hosts = [registry.host, served.host]
    with PodmanService(tmp_path / "podman.log", insecure=hosts) as podman:
        write_list(asyncsync_command.folder, f"{registry.host}/{namespace}/app:1")
        to = ("--to", f"{served.host}/team", "--via", "engine", "--output", "json")
        done = asyncsync_command("sync", *to, engine=podman)
        assert statuses(done.stdout) == {"app:1": "copied"}, done.stderr
        podman.pull(f"{served.host}/team/app:1")
        assert f"{served.host}/team/app:1" in podman.images()
    assert served.config_digest_of("team/app", "1") == image.config_digest


def test_a_login_and_a_certificate_of_one_s_own_are_enough_for_everybody(
    registry: Registry, namespace: str, tmp_path: Path, asyncsync_command: Command
) -> None:
    image = registry.put_image(f"{namespace}/app", "1", layers=2)
    source = f"docker://{registry.host}/{namespace}/app:1"
    login = ("tester", "s3cret-of-the-tests")
    with ServedFolder(tmp_path / "served", user=login[0], password=login[1], tls=True) as served:
        assert served.ca_file is not None
        certificates = tmp_path / "certificates"
        certificates.mkdir()
        (certificates / "ca.crt").write_bytes(served.ca_file.read_bytes())
        to = ("--src-tls-verify=false", f"--dest-cert-dir={certificates}")
        target = f"docker://{served.host}/team/app:1"
        with pytest.raises(PartFailed, match=r"unauthorized|authentication required"):
            skopeo("copy", *to, source, target)
        with pytest.raises(PartFailed, match=r"unauthorized|authentication required"):
            skopeo("copy", *to, f"--dest-creds={login[0]}:wrong", source, target)
        skopeo("copy", *to, f"--dest-creds={':'.join(login)}", source, target)
        assert served.digest_of("team/app", "1") == image.digest
        write_list(asyncsync_command.folder, f"{registry.host}/{namespace}/app:1")
        way = ("--via", "direct", "--ca-file", served.ca_file, "--plain-http", registry.host)
        env = {"DOCKER_CONFIG": str(docker_config(tmp_path, {served.host: login}))}
        to = ("--to", f"{served.host}/other", "--output", "json")
        done = asyncsync_command("sync", *to, *way, env=env)
        assert statuses(done.stdout) == {"app:1": "copied"}, done.stderr
        assert login[1] not in served.log.read_text()


@pytest.mark.registry  # for its htpasswd
def test_docker_logs_in(tmp_path: Path, engine: Engine) -> None:
    login = ("tester", "s3cret-of-the-tests")
    with ServedFolder(tmp_path / "served", user=login[0], password=login[1]) as served:
        image = served.put_image("team/app", "1", oci=False)
        name = f"{served.host}/team/app:1"
        with pytest.raises(PartFailed, match=r"no basic auth credentials|unauthorized"):
            engine.docker("pull", name)
        options = ("--config", docker_config(tmp_path, {served.host: login}))
        engine.docker(*options, "pull", name)
        engine.docker("tag", name, f"{served.host}/team/app:2")
        engine.docker(*options, "push", f"{served.host}/team/app:2")
        assert served.config_digest_of("team/app", "2") == image.config_digest


def test_many_push_and_pull_at_once(
    engine: Engine, registry: Registry, served: ServedFolder, namespace: str, tmp_path: Path
) -> None:
    base = [images.layer("a base that all share", 2_000_000)]
    pushed = {
        f"app{n}": registry.put_image(
            f"{namespace}/app{n}", "1", shared_layers=base, layers=2, size=300_000
        )
        for n in range(8)
    }
    plain = ("--src-tls-verify=false", "--dest-tls-verify=false")

    def push(name: str) -> None:
        source = f"docker://{registry.host}/{namespace}/{name}:1"
        skopeo("copy", *plain, source, f"docker://{served.host}/team/{name}:1")
        to = tmp_path / name
        skopeo("copy", *plain, f"docker://{served.host}/team/{name}:1", f"oci:{to}:pulled")

    def push_by_docker(name: str) -> None:
        engine.docker("pull", f"{registry.host}/{namespace}/{name}:1")
        target = f"{served.host}/docker/{name}:1"
        engine.docker("tag", f"{registry.host}/{namespace}/{name}:1", target)
        engine.docker("push", target)

    works: list[tuple[Callable[[str], None], str]] = [(push, name) for name in pushed]
    works += [(push_by_docker, f"app{n}") for n in range(3)]
    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(work, name) for work, name in works]:
            done.result()
    for name, image in pushed.items():
        assert served.digest_of(f"team/{name}", "1") == image.digest
    for n in range(3):
        assert served.config_digest_of(f"docker/app{n}", "1") == pushed[f"app{n}"].config_digest
    whole(served.data)


def test_docker_podman_and_skopeo_get_there_although_it_is_killed_again_and_again(
    engine: Engine, registry: Registry, served: ServedFolder, namespace: str, tmp_path: Path,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    at = f"{registry.host}/{namespace}"
    source = {
        name: registry.put_image(f"{namespace}/{name}", "1", layers=3, size=500_000)
        for name in ("docker", "podman", "skopeo0", "skopeo1", "skopeo2")
    }
    to, plain = f"{served.host}/team", ("--src-tls-verify=false", "--dest-tls-verify=false")
    write_list(asyncsync_command.folder, f"{at}/podman:1")

    def by_skopeo(name: str) -> None:
        skopeo("copy", *plain, f"docker://{at}/{name}:1", f"docker://{to}/{name}:1")
        skopeo("copy", *plain, f"docker://{to}/{name}:1", f"dir:{tmp_path / name}")

    def by_docker() -> None:
        engine.docker("pull", f"{at}/docker:1")
        engine.docker("tag", f"{at}/docker:1", f"{to}/docker:1")
        engine.docker("push", f"{to}/docker:1")
        engine.docker("pull", f"{to}/docker:1")

    def until_it_is_done(work: Callable[[], None]) -> None:
        for _ in range(20):  # each kill breaks one of them, and there are three
            try:
                return work()
            except PartFailed:
                once(lambda: served.is_up)
        return work()

    with PodmanService(tmp_path / "podman.log", insecure=[registry.host, served.host]) as podman:

        def by_podman() -> None:
            command = ("sync", "--via", "engine", "--to", to)
            done = asyncsync_command(*command, engine=podman, timeout=120)
            if done.returncode:
                raise PartFailed(done.stderr)
            podman.pull(f"{to}/podman:1")

        works = [by_docker, by_podman, *(partial(by_skopeo, f"skopeo{n}") for n in range(3))]
        with ThreadPoolExecutor(len(works)) as pool:
            under_way = [pool.submit(until_it_is_done, work) for work in works]
            for requests in (5, 20, 40):
                begin = served.mark()
                once(
                    lambda: (
                        len(served.requests(since=begin)) >= requests  # noqa: B023  at once
                        or all(work.done() for work in under_way)
                    )
                )
                served.kill()
                whole(served.data)
                served.start()
            for done in under_way:
                done.result()
    for name, image in source.items():
        assert served.config_digest_of(f"team/{name}", "1") == image.config_digest
    whole(served.data)


@pytest.mark.parametrize("seed", range(3))
def test_killed_again_and_again_it_holds_whole_images_alone_and_the_next_run_ends_equal(
    registry: Registry, served: ServedFolder, namespace: str, asyncsync_command: Command, seed: int
) -> None:
    rng = random.Random(seed)  # noqa: S311  moments, no secret
    print(f"seed {seed}")  # noqa: T201  shown where it fails
    at = f"{registry.host}/{namespace}"
    digests = {
        f"app{n}:1": registry.put_image(f"{namespace}/app{n}", "1", layers=3, size=400_000).digest
        for n in range(4)
    }
    digests["multi:1"] = registry.put_index(f"{namespace}/multi", "1", attestation=True).digest
    write_list(asyncsync_command.folder, *(f"{at}/{name}" for name in digests))
    command = ("sync", "--to", f"{served.host}/team", "--via", "direct", "--retries", "0")
    for _ in range(5):
        begin, moment = served.mark(), rng.randint(1, 45)
        with asyncsync_command.started(*command) as process:
            once(
                lambda: (
                    len(served.requests(since=begin)) >= moment  # noqa: B023  at once
                    or process.poll() is not None
                )
            )
            served.kill()
            process.communicate(timeout=60)
        whole(served.data)
        served.start()
    done = asyncsync_command(*command, "--output", "json")
    assert done.returncode == 0, done.stderr
    assert {name: served.digest_of(f"team/{name[:-2]}", "1") for name in digests} == digests
    whole(served.data)
    assert [path.name for path in (served.data / ".asyncsync").iterdir()] == ["lock"]


def test_what_it_had_of_an_upload_when_it_was_killed_is_gone_once_it_is_up_again(
    served: ServedFolder,
) -> None:
    begun = ask(served.host, "POST", "/v2/team/app/blobs/uploads/")
    assert ask(served.host, "PATCH", begun.location, b"half of it").status == 202
    served.kill()
    assert len(list((served.data / ".asyncsync").glob("new-*"))) == 1
    served.start()
    assert list((served.data / ".asyncsync").glob("new-*")) == []


def whole(layout: Path) -> None:
    """Everything that the index of a layout leads to is there, and is what its digest says."""
    index = json.loads((layout / "index.json").read_bytes())
    assert json.loads((layout / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    waiting, seen = [entry["digest"] for entry in index["manifests"]], set[str]()
    while waiting:
        digest = waiting.pop()
        if digest in seen:
            continue
        seen.add(digest)
        data = (layout / "blobs" / digest.replace(":", "/")).read_bytes()
        assert images.digest_of(data) == digest
        body = json.loads(data) if data.startswith(b"{") else {}
        parts = [*body.get("manifests", []), *body.get("layers", [])]
        parts += [body["config"]] if "digest" in body.get("config", {}) else []
        waiting += [part["digest"] for part in parts]


def test_the_direct_way_goes_to_it_and_from_it(
    registry: Registry, served: ServedFolder, namespace: str, asyncsync_command: Command
) -> None:
    index = registry.put_index(f"{namespace}/multi", "v1", attestation=True)
    image = registry.put_image(f"{namespace}/one", "v1", layers=4)
    at = f"{registry.host}/{namespace}"
    write_list(asyncsync_command.folder, f"{at}/multi:v1", f"{at}/one:v1")
    way = ("--via", "direct", "--output", "json")
    first = asyncsync_command("sync", "--to", f"{served.host}/team", *way)
    assert statuses(first.stdout) == {"multi:v1": "copied", "one:v1": "copied"}, first.stderr
    again = asyncsync_command("sync", "--to", f"{served.host}/team", *way)
    assert statuses(again.stdout) == {"multi:v1": "unchanged", "one:v1": "unchanged"}
    assert served.digest_of("team/multi", "v1") == index.digest
    assert served.digest_of("team/one", "v1") == image.digest
    write_list(asyncsync_command.folder, f"{served.host}/team/multi:v1")
    back = asyncsync_command("sync", "--to", f"{registry.host}/{namespace}/back", *way)
    assert statuses(back.stdout) == {"multi:v1": "copied"}, back.stderr
    assert registry.digest_of(f"{namespace}/back/multi", "v1") == index.digest


def test_what_refers_to_an_image_comes_into_it_and_out_of_it_again(
    registry: Registry, served: ServedFolder, namespace: str, asyncsync_command: Command
) -> None:
    index = registry.put_index(f"{namespace}/app", "1", attestation=True, artifact=True)
    signature = put_referrer(registry, f"{namespace}/app", index.digest)
    write_list(asyncsync_command.folder, f"{registry.host}/{namespace}/app:1")
    way = ("--via", "direct", "--with-referrers", "--output", "json")
    there = asyncsync_command("sync", "--to", f"{served.host}/team", *way)
    assert statuses(there.stdout) == {"app:1": "copied"}, there.stdout + there.stderr
    listed = ask(served.host, "GET", f"/v2/team/app/referrers/{index.digest}").json["manifests"]
    assert [(each["digest"], each["artifactType"]) for each in listed] == [(signature, NOTARY)]
    write_list(asyncsync_command.folder, f"{served.host}/team/app:1")
    back = asyncsync_command("sync", "--to", f"{registry.host}/{namespace}/back", *way)
    assert statuses(back.stdout) == {"app:1": "copied"}, back.stdout + back.stderr
    at = fallback_tag(index.digest)
    (found,) = (registry.manifest(f"{namespace}/back/app", at) or {})["manifests"]
    assert found["digest"] == signature
