"""Commands: asyncsync itself, and skopeo as a judge who knows nothing of it."""

from __future__ import annotations

import base64
import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from parts.processes import clean_environment, run


class HasUrl(Protocol):
    """An engine, as far as a command needs to know it."""

    @property
    def url(self) -> str: ...


class Command:
    """Runs `python -m asyncsync` in `folder`, in an environment without anybody's settings.

    Without an engine it finds none, whatever this machine has.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self,
        *args: str | Path,
        engine: HasUrl | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        input: str | None = None,  # noqa: A002  as subprocess calls it
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end. Its exit code is the caller's to look at."""
        return run(
            sys.executable, "-m", "asyncsync", *args, env=self.environment(engine, env),
            cwd=cwd or self.folder, input=input, check=False, timeout=timeout,
        )  # fmt: skip

    @contextmanager
    def started(
        self,
        *args: str | Path,
        engine: HasUrl | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Iterator[subprocess.Popen[str]]:
        """Start it, to send it signals; `communicate(timeout=…)` for its end and its words."""
        process = subprocess.Popen(
            [sys.executable, "-m", "asyncsync", *args], env=self.environment(engine, env),
            cwd=cwd or self.folder, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        with process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)

    def environment(
        self, engine: HasUrl | None = None, more: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """What it runs with: PATH, a HOME and DOCKER_CONFIG in `folder`, DOCKER_HOST, `more`."""
        defaults = {
            "DOCKER_HOST": engine.url if engine else f"unix://{self.folder}/no-engine.sock",
            "DOCKER_CONFIG": str(self.folder / "no-docker-config"),
            "PYTHONPATH": package_folder(),
        }
        return clean_environment(self.folder, **{**defaults, **(more or {})})


def write_list(folder: Path, *lines: str) -> Path:
    """Write images.yaml in `folder`, where the command looks for it."""
    path = folder / "images.yaml"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def outcomes(stdout: str) -> dict[str, dict[str, Any]]:
    """What `--output json` told, by the last part of the target's name: `nginx:1.27`."""
    return {o["target"].rpartition("/")[2]: o for o in json.loads(stdout)["outcomes"]}


def statuses(stdout: str) -> dict[str, str]:
    """The same, the status alone."""
    return {name: outcome["status"] for name, outcome in outcomes(stdout).items()}


def docker_config(folder: Path, logins: Mapping[str, tuple[str, str]]) -> Path:
    """Make a DOCKER_CONFIG folder with these logins: `{host: (user, password)}`."""
    config = folder / "docker-config"
    config.mkdir(parents=True, exist_ok=True)
    auths = {
        host: {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}
        for host, (user, password) in logins.items()
    }
    (config / "config.json").write_text(json.dumps({"auths": auths}))
    return config


def skopeo(*args: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run skopeo with no settings but `args`, as `skopeo("inspect", "--tls-verify=false", …)`."""
    with TemporaryDirectory() as home:
        environment = clean_environment(Path(home), XDG_RUNTIME_DIR=home)
        return run("skopeo", "--insecure-policy", *args, env=environment, check=check)


def package_folder() -> str:
    """Where the asyncsync is that this process would import, installed or not."""
    spec = importlib.util.find_spec("asyncsync")
    return str(Path(spec.origin).parent.parent) if spec and spec.origin else ""
