"""`asyncsync serve` under the programs that people use: docker, podman, skopeo, and ourselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from parts import images
from parts.commands import Command, skopeo, statuses, write_list
from parts.engine import Engine
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
