"""A private Docker Engine that a test may fill, kill and start again."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode

from parts import unix_http
from parts.folders import remove_short_folder, short_folder
from parts.images import tar_of
from parts.processes import PartFailed, Process, clean_environment, program, run


class Engine:
    """dockerd with a containerd, data, socket and configuration of its own, and no network.

    It keeps its data when started again. `tmpfs="60m"` gives it a disk of that size, to be full.
    `settings` go into its daemon.json; `containerd_store` takes containerd's image store
    (engine 23 and newer) or Docker's own, by default what this engine would take.
    """

    def __init__(
        self,
        log: Path,
        *,
        tmpfs: str | None = None,
        containerd_store: bool | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.log, self._tmpfs, self._settings = log, tmpfs, dict(settings or {})
        if containerd_store is not None:
            self._settings["features"] = {"containerd-snapshotter": containerd_store}
        self.folder = short_folder()
        self.socket = self.folder / "docker.sock"
        self._data = self.folder / "data"
        self._data.mkdir()
        self._containerd: Process | None = None
        self._dockerd: Process | None = None

    def __enter__(self) -> Self:
        try:
            if self._tmpfs:
                run("mount", "-t", "tmpfs", "-o", f"size={self._tmpfs}", "tmpfs", self._data)
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._remove()

    @property
    def url(self) -> str:
        """What DOCKER_HOST is to be: `unix://…`."""
        return f"unix://{self.socket}"

    @property
    def running(self) -> bool:
        return self._dockerd is not None and self._dockerd.running

    @property
    def version(self) -> str:
        """Its version, as `26.1.5+dfsg1`."""
        return str(self.ask("GET", "/version")["Version"])

    def start(self) -> None:
        """Start it, or start it again with the same data; it answers when this returns."""
        if self.running:
            raise PartFailed("the engine is running")
        environment = clean_environment(self.folder)
        self._containerd = Process(
            program("containerd") or "containerd", "--config", self._containerd_config(),
            log=self.log.with_suffix(".containerd.log"), env=environment,
        )  # fmt: skip
        try:
            self._containerd.wait_for(lambda: unix_http.answers(self._containerd_socket))
            (self.folder / "dockerd.pid").unlink(missing_ok=True)  # of a killed one
            self._dockerd = Process(
                program("dockerd") or "dockerd", "--config-file", self._dockerd_config(),
                log=self.log, env=environment,
            )  # fmt: skip
            self._dockerd.wait_for(lambda: unix_http.answers(self.socket, "/_ping"))
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """SIGTERM: it ends its streams in order. Nothing happens if it is down."""
        for process in (self._dockerd, self._containerd):
            if process is not None:
                process.stop()
        self._dockerd = self._containerd = None

    def kill(self) -> None:
        """SIGKILL: its streams break in the middle."""
        for process in (self._dockerd, self._containerd):
            if process is not None:
                process.kill()
        self._dockerd = self._containerd = None

    def reload(self, **settings: Any) -> None:
        """Change live settings, as `reload(**{"max-concurrent-downloads": 16})`."""
        if self._dockerd is None:
            raise PartFailed("the engine is down")
        self._settings.update(settings)
        self._dockerd_config()
        self._dockerd.send(signal.SIGHUP)

    def docker(
        self,
        *args: str | Path,
        check: bool = True,
        input: str | None = None,  # noqa: A002  as subprocess calls it
        config: Path | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run the docker command with this engine; `config` is its DOCKER_CONFIG."""
        environment = clean_environment(
            self.folder,
            DOCKER_HOST=self.url,
            DOCKER_CONFIG=str(config or self.folder / "no-docker-config"),
        )
        return run("docker", *args, env=environment, input=input, check=check, timeout=timeout)

    def images(self) -> set[str]:
        """All names that images have: tags, and references by digest."""
        listed = self.ask("GET", "/images/json")
        names = {
            name
            for image in listed
            for name in (*(image["RepoTags"] or ()), *(image["RepoDigests"] or ()))
        }
        return {name for name in names if "<none>" not in name}

    def remove(self, names: Iterable[str]) -> None:
        """Remove images by name, as far as they are there and nobody uses them."""
        for name in sorted(names):
            self.ask("DELETE", f"/images/{quote(name, safe='/:@')}", expect=(200, 404, 409))

    def import_tiny(self, name: str) -> None:
        """Make an image `name` of one tiny file, without any registry."""
        repository, _, tag = name.rpartition(":")
        query = urlencode({"fromSrc": "-", "repo": repository, "tag": tag})
        tar = tar_of({"name.txt": name.encode()})
        self._stream(f"/images/create?{query}", tar)

    def build(self, tag: str, dockerfile: str, files: Mapping[str, bytes] | None = None) -> None:
        """Build an image with the classic builder, `FROM scratch` or from what is there."""
        query = urlencode({"t": tag, "version": "1", "networkmode": "none"})
        tar = tar_of({"Dockerfile": dockerfile.encode(), **(files or {})}, mode=0o755)
        self._stream(f"/build?{query}", tar)

    def open_connections(self) -> int:
        """How many connections to its socket are open now, those of all clients together."""
        return unix_http.open_connections(self.socket)

    def ask(
        self, method: str, target: str, body: Any = None, *, expect: Collection[int] = (200,)
    ) -> Any:
        """Ask the engine's API, JSON to JSON. Raises PartFailed at any other answer."""
        return unix_http.ask(self.socket, method, target, body, expect=expect)

    def _stream(self, target: str, tar: bytes) -> None:
        text = unix_http.send(self.socket, "POST", target, tar, "application/x-tar")
        for record in map(json.loads, text.splitlines()):
            if "error" in record:
                raise PartFailed(f"{target}: {record['error']}")

    @property
    def _containerd_socket(self) -> Path:
        return self.folder / "containerd.sock"

    def _containerd_config(self) -> Path:
        # Its own, or an engine that serves this machine would lend us its images and lose them.
        path = self.folder / "containerd.toml"
        path.write_text(
            "version = 2\n"
            f'root = "{self._data}/containerd"\n'
            f'state = "{self.folder}/containerd"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\naddress = "{self._containerd_socket}"\n'
        )
        return path

    def _dockerd_config(self) -> Path:
        path = self.folder / "daemon.json"
        settings = {
            "hosts": [self.url],
            "data-root": f"{self._data}/docker",
            "exec-root": f"{self.folder}/exec",
            "pidfile": f"{self.folder}/dockerd.pid",
            "containerd": str(self._containerd_socket),
            "bridge": "none",
            "iptables": False,
            "ip6tables": False,
            "ip-forward": False,
            "userland-proxy": False,
            **self._settings,
        }
        path.write_text(json.dumps(settings))
        return path

    def _remove(self) -> None:
        remove_short_folder(self.folder)
