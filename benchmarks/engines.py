"""New engines for contenders that need one, and the versions of what is measured."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from parts.engine import Engine
from parts.processes import PartFailed, run


@contextmanager
def new_engine(
    folder: Path, *, containerd_store: bool | None, settings: Mapping[str, Any] | None = None
) -> Iterator[Engine]:
    """An engine that never had an image: an emptied one still knows where layers were."""
    log = folder / "dockerd.log"
    with Engine(log, containerd_store=containerd_store, settings=settings) as engine:
        if engine.images():
            raise PartFailed("a new engine has images")
        yield engine


def has_containerd_store(engine: Engine) -> bool:
    """Whether it keeps images in containerd, and so has no limits."""
    status = engine.ask("GET", "/info")["DriverStatus"]
    return ["driver-type", "io.containerd.snapshotter.v1"] in status


def versions(engine: Engine | None) -> str:
    """The programs that are measured, but for other registry clients."""
    registry = run("docker-registry", "--version").stdout.split()[-1]
    ours = (
        f"docker-registry {registry}, asyncsync {version('asyncsync')}, "
        f"Python {platform.python_version()}"
    )
    if engine is None:
        return ours
    client = run("docker", "--version").stdout.split()[2].rstrip(",")
    store = "containerd's" if has_containerd_store(engine) else "classic"
    return f"Docker {engine.version} ({store} store), docker command {client}, {ours}"
