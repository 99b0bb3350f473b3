"""Fixtures: real registries, engines and links from `parts`, and what is told when they lack.

A test that asks for one of them needs no marker of its own: the fixture brings it.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from parts.commands import Command
from parts.engine import Engine
from parts.podman import PodmanService
from parts.processes import NEEDED, missing
from parts.registry import Registry
from parts.relay import Relay

_PART_OF_FIXTURE = {
    "engine": "engine",
    "own_engine": "engine",
    "registry": "registry",
    "locked_registry": "registry",
    "tls_registry": "registry",
    "own_registry": "registry",
    "relay": "registry",
    "podman": "podman",
}
_IN_CI = os.environ.get("CI", "").lower() in {"true", "1"}
_LOG_LINES, _LOG_COLUMNS = 15, 300
_LEFT_OUT = pytest.StashKey[Counter[str]]()
# What whoever runs the tests has set for a job or for asyncsync is no setting of theirs.
_SETTINGS = ("GITHUB_", "RUNNER_", "REGISTRY", "NAMESPACE", "ASYNCSYNC_", "DOCKER_")
_OURS = {"ASYNCSYNC_FAILED_CHECKS"}  # by tests/run

# Hypothesis times each example, and calls one that a busy machine held up a failure.
settings.register_profile("untimed", settings(), deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def namespace() -> str:
    """A name that no other test has used, for repositories at the shared registries."""
    return f"ns-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """An open registry that speaks plain HTTP, the same for all tests: use `namespace` in it."""
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="session")
def locked_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that wants a login: its `user` and `password`."""
    folder = tmp_path_factory.mktemp("locked-registry")
    with Registry(folder, user="tester", password="s3cret-of-the-tests") as registry:
        yield registry


@pytest.fixture(scope="session")
def tls_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that speaks TLS, with a certificate by the CA in its `ca_file`."""
    with Registry(tmp_path_factory.mktemp("tls-registry"), tls=True) as registry:
        yield registry


@pytest.fixture
def own_registry(tmp_path: Path) -> Iterator[Registry]:
    """An open registry for this test alone, which may stop or kill it."""
    with Registry(tmp_path / "registry") as registry:
        yield registry


@pytest.fixture
def relay(registry: Registry) -> Iterator[Relay]:
    """A link to `registry` that can be measured, slowed down and broken."""
    with Relay(registry.host) as relay:
        yield relay


@pytest.fixture(scope="session")
def shared_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(tmp_path_factory.mktemp("engine") / "dockerd.log") as engine:
        yield engine


@pytest.fixture
def engine(shared_engine: Engine) -> Iterator[Engine]:
    """A Docker Engine; the images that a test leaves in it are removed after the test."""
    before = shared_engine.images()
    yield shared_engine
    shared_engine.remove(shared_engine.images() - before)


@pytest.fixture
def own_engine(tmp_path: Path) -> Iterator[Engine]:
    """A Docker Engine for this test alone, which may stop, kill or fill it."""
    with Engine(tmp_path / "dockerd.log") as engine:
        yield engine


@pytest.fixture(scope="session")
def podman(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodmanService]:
    """podman's Docker-compatible socket, which takes `registry` for insecure."""
    log = tmp_path_factory.mktemp("podman") / "podman.log"
    with PodmanService(log, insecure=[registry.host]) as podman:
        yield podman


@pytest.fixture
def asyncsync_command(tmp_path: Path) -> Command:
    """`asyncsync_command("sync", "--to", …, engine=engine)` runs it as a user would."""
    return Command(tmp_path)


def pytest_configure(config: pytest.Config) -> None:
    for name in [name for name in os.environ if name.startswith(_SETTINGS)]:
        if name not in _OURS:
            del os.environ[name]
    config.addinivalue_line("markers", "disk: needs a small disk, which only root can mount")
    config.addinivalue_line("markers", "podman: needs podman, whose socket the test talks to")
    config.addinivalue_line("markers", "shellcheck: needs shellcheck")
    config.addinivalue_line("markers", "umoci: needs umoci, which knows layouts")
    config.stash[_LEFT_OUT] = Counter()


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if part := _PART_OF_FIXTURE.get(fixture):
                item.add_marker(part)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    lacks = [need for part in NEEDED if item.get_closest_marker(part) for need in missing(part)]
    if lacks:
        why = f"it needs {', '.join(dict.fromkeys(lacks))}"
        if _IN_CI:
            pytest.fail(f"{why}; with CI set, nothing is left out", pytrace=False)
        item.config.stash[_LEFT_OUT][why] += 1
        pytest.skip(why)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of the logs of all parts that a failed test worked with."""
    report = yield
    if report.failed:
        parts = getattr(item, "funcargs", {}).values()
        for log in dict.fromkeys(getattr(part, "log", None) for part in parts):
            if isinstance(log, Path) and log.exists():
                lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
                end = "\n".join(line[:_LOG_COLUMNS] for line in lines)
                report.sections.append((f"the end of {log}", end))
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> Generator[None, None, None]:
    """Say what was left out, and what failed before the tests, right before the closing line."""
    yield
    left_out = config.stash[_LEFT_OUT]
    for why, count in left_out.items():
        terminalreporter.write_line(f"left out: {count} tests: {why}", yellow=True)
    if left_out:
        terminalreporter.write_line("To run them: tests/run as root on Debian or Ubuntu.")
    if failed := os.environ.get("ASYNCSYNC_FAILED_CHECKS"):
        terminalreporter.write_line(f"failed before the tests: {failed}", red=True)
