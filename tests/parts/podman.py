"""podman's Docker-compatible socket, with data and configuration of its own."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

from parts import unix_http
from parts.folders import remove_short_folder, short_folder
from parts.processes import PartFailed, Process, clean_environment, program


class PodmanService:
    """`podman system service` on a unix socket; the registries in `insecure` speak plain HTTP."""

    def __init__(self, log: Path, *, insecure: Collection[str] = ()) -> None:
        self.log, self._insecure = log, tuple(insecure)
        self.folder = short_folder()
        self.socket = self.folder / "podman.sock"
        self._process: Process | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            remove_short_folder(self.folder)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        remove_short_folder(self.folder)

    @property
    def url(self) -> str:
        """What DOCKER_HOST is to be: `unix://…`."""
        return f"unix://{self.socket}"

    @property
    def version(self) -> str:
        return str(self.ask("GET", "/version")["Version"])

    def start(self) -> None:
        """Start it, or start it again with the same data; it answers when this returns."""
        if self._process is not None:
            raise PartFailed("podman is running")
        self.socket.unlink(missing_ok=True)
        folder = self.folder
        self._process = Process(
            program("podman") or "podman", "--root", folder / "root", "--runroot", folder / "run",
            "--tmpdir", folder / "tmp", "--cgroup-manager", "cgroupfs", "--events-backend", "none",
            "system", "service", "--time=0", self.url,
            log=self.log, env=self._environment(),
        )  # fmt: skip
        self._process.wait_for(lambda: unix_http.answers(self.socket, "/_ping"))

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop(5)
            self._process = None

    def pull(self, name: str) -> None:
        """Pull an image by its whole name. Raises PartFailed with what podman says."""
        query = urlencode({"fromImage": name})
        text = unix_http.send(
            self.socket, "POST", f"/images/create?{query}", None, "application/json"
        )
        if '"error"' in text:
            raise PartFailed(text)

    def images(self) -> set[str]:
        """All names that images have: tags, and references by digest."""
        return {
            name
            for image in self.ask("GET", "/v1.41/images/json")
            for name in (*(image["RepoTags"] or ()), *(image["RepoDigests"] or ()))
            if "<none>" not in name
        }

    def open_connections(self) -> int:
        """How many connections to its socket are open now, those of all clients together."""
        return unix_http.open_connections(self.socket)

    def ask(
        self, method: str, target: str, body: Any = None, *, expect: Collection[int] = (200,)
    ) -> Any:
        """Ask its Docker-compatible API, JSON to JSON. Raises PartFailed at any other answer."""
        return unix_http.ask(self.socket, method, target, body, expect=expect)

    def _environment(self) -> dict[str, str]:
        settings = self.folder / ".config" / "containers"  # below HOME: before the machine's own
        settings.mkdir(parents=True, exist_ok=True)
        policy = {"default": [{"type": "insecureAcceptAnything"}]}
        (settings / "policy.json").write_text(json.dumps(policy))
        registries = settings / "registries.conf"
        registries.write_text(
            "".join(
                f'[[registry]]\nlocation = "{host}"\ninsecure = true\n' for host in self._insecure
            )
        )
        return clean_environment(self.folder, CONTAINERS_REGISTRIES_CONF=str(registries))
