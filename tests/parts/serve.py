"""`asyncsync serve` as a process of its own: filled and asked as the real registry is."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

from parts.commands import package_folder
from parts.processes import PartFailed, Process, clean_environment
from parts.registry import Registry, Request

_LISTENING = re.compile(r" at https?://127\.0\.0\.1:(\d+)\. Type: ")
_MARK = "/v2/mark-of-the-tests/"
_ANSWERED = re.compile(
    r"^answered client=\S+ method=(?P<method>\S+) path=(?P<path>\S+) status=(?P<status>\d+) "
    r"bytes=(?P<bytes>\d+)",
    re.MULTILINE,
)


class ServedFolder(Registry):
    """A folder, `data` below `folder`, behind `asyncsync serve`. It keeps its port and its data."""

    def __init__(
        self,
        folder: Path,
        *options: str | Path,
        user: str | None = None,
        password: str = "",
        tls: bool = False,
        tmpfs: str | None = None,
    ) -> None:
        super().__init__(folder, user=user, password=password, tls=tls, tmpfs=tmpfs)
        self._options = list(options)
        if user is not None:
            self._options += ["--htpasswd", folder / "htpasswd"]
        if tls:
            self._options += ["--tls-cert", folder / "server.pem"]
            self._options += ["--tls-key", folder / "server.key"]

    def start(self) -> None:
        """Start it, or start it again at the same port; ready when this returns."""
        if self._process is not None:
            raise PartFailed("it is running")
        process = Process(
            sys.executable, "-m", "asyncsync", "serve", self.data, "-v",
            "--listen", f"127.0.0.1:{self._port}", *self._options,
            log=self.log, env=clean_environment(self.folder, PYTHONPATH=package_folder()),
        )  # fmt: skip
        self._port = process.wait_for(lambda: _port(process.logged()))
        self._process = process

    @property
    def is_up(self) -> bool:
        """Whether it answers: it was started, and not killed since. Any thread may ask."""
        process = self._process
        return process is not None and process.running

    def interrupt(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send it a signal, wait for its end, and return its exit code."""
        assert self._process is not None
        self._process.send(number)
        code = self._process.ended(10)
        self._process = None
        return code

    def requests(
        self, method: str | None = None, path_contains: str = "", *, since: int = 0
    ) -> list[Request]:
        """The requests that were answered, ours as well; those of this method and path."""
        self._settle()
        return [
            Request(each["method"], each["path"], int(each["status"]), int(each["bytes"]), "")
            for each in _ANSWERED.finditer(self._logged(since))
            if method in (None, each["method"])
            and path_contains in each["path"]
            and _MARK not in each["path"]
        ]

    def _settle(self) -> None:
        # A request is told a moment after its answer: wait until one of our own is.
        if self._process is None:
            return
        mark = f"{_MARK}{next(self._marks)}/end"
        self._ask("GET", mark, expect=(401, 404))
        self._process.wait_for(lambda: mark in self._process_log() or None)

    def _process_log(self) -> str:
        return self._process.logged() if self._process else ""


def _port(log: str) -> int | None:
    match = _LISTENING.search(log)
    return int(match[1]) if match else None
