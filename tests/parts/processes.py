"""Programs: found, run to their end, or kept running until told otherwise."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

START_SECONDS = 30.0  # an engine on a busy machine of two cores took 6
STOP_SECONDS = 20.0  # an engine gives its streams 5 to 15 before it goes
_POLL_SECONDS = 0.02
_TAIL_LINES = 25

NEEDED = {
    "engine": ("root", "dockerd", "containerd", "runc", "docker", "mount", "busybox"),
    "registry": ("docker-registry", "htpasswd", "openssl", "skopeo"),
    "disk": ("root", "mount"),
    "podman": ("root", "podman"),
    "umoci": ("umoci",),
    "shellcheck": ("shellcheck",),
}


class PartFailed(Exception):
    """A part did not start, or a program it ran failed. The message ends in what it logged."""


def program(name: str) -> str | None:
    """The path of `name`, also where only root's PATH has it; None without."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin")


def missing(part: str) -> tuple[str, ...]:
    """What `part` needs and this machine lacks: programs, or `root`."""
    return tuple(
        need
        for need in NEEDED[part]
        if (os.geteuid() != 0 if need == "root" else program(need) is None)
    )


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """An environment in which nothing of the user's own settings is found."""
    kept = {name: os.environ[name] for name in os.environ if name.startswith("COVERAGE_")}
    path = os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin") + ":/usr/sbin:/sbin"
    return {**kept, "PATH": path, "HOME": str(home), "LANG": "C.UTF-8", **more}


def run(
    *command: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    input: str | None = None,  # noqa: A002  as subprocess calls it
    check: bool = True,
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run `command` to its end. Raises PartFailed with what it said if it fails."""
    done = subprocess.run(
        command, env=env, cwd=cwd, input=input or "", text=True, capture_output=True,
        timeout=timeout, check=False,
    )  # fmt: skip
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise PartFailed(f"{' '.join(map(str, command))} ended with {done.returncode}: {said}")
    return done


class Process:
    """A program that runs in a process group of its own and logs into a file."""

    def __init__(
        self, *command: str | Path, log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        self._begin = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        atexit.register(self.kill)  # when a test run is broken off before its fixtures end

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    def logged(self) -> str:
        """What this process, not an earlier one, has written into the log."""
        with self.log.open("rb") as log:
            log.seek(self._begin)
            return log.read().decode(errors="replace")

    def wait_for(self, ready: Callable[[], T | None], seconds: float = START_SECONDS) -> T:
        """Ask `ready` until it has an answer. Raises PartFailed when the process or time ends."""
        deadline = time.monotonic() + seconds
        while (answer := ready()) is None:
            if not self.running or time.monotonic() > deadline:
                why = f"not ready in {seconds:g} s" if self.running else "it ended"
                self.kill()
                tail = "\n".join(self.logged().splitlines()[-_TAIL_LINES:])
                raise PartFailed(f"{self._popen.args}: {why}\n{tail}")  # type: ignore[str-bytes-safe]
            time.sleep(_POLL_SECONDS)
        return answer

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program alone."""
        self._popen.send_signal(number)

    def ended(self, seconds: float) -> int:
        """Wait for its end, and return its exit code."""
        code = self._popen.wait(seconds)
        self.kill()
        return code

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """SIGTERM, and SIGKILL to its whole group if it does not go in time."""
        if self.running:
            self._popen.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(seconds)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to the whole group, at once."""
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()
        atexit.unregister(self.kill)


def once(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until it is so. Raises PartFailed if it never comes to that."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise PartFailed("it never came to that")
        time.sleep(_POLL_SECONDS)
