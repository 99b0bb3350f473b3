"""Which engine is used, by docker's own rules, and what is said when it cannot be."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web
from scripted import scripted, self_signed

from asyncsync.model.errors import ConfigurationError, EngineUnavailable
from asyncsync.transports.engine import connected
from asyncsync.transports.engine.finding import Endpoint, find, open_client, reason

# The command, run by a user whom the system knows by number alone.
_NAMELESS = """
import pwd

def unknown(number):
    raise KeyError(number)

pwd.getpwuid = unknown
from asyncsync.cli import main
main()
"""


def write_context(config: Path, name: str, endpoint: dict[str, object]) -> Path:
    folder = hashlib.sha256(name.encode()).hexdigest()
    meta = config / "contexts/meta" / folder / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": name, "Endpoints": {"docker": endpoint}}))
    return config / "contexts/tls" / folder / "docker"


def test_docker_host_beats_every_context(tmp_path: Path) -> None:
    environ = {"DOCKER_HOST": "tcp://h:2375", "DOCKER_CONTEXT": "other"}
    assert find({**environ, "HOME": str(tmp_path)}) == Endpoint("tcp://h:2375")


def test_an_empty_docker_host_is_an_unset_one(tmp_path: Path) -> None:
    assert find({"DOCKER_HOST": "", "HOME": str(tmp_path)}).url.startswith("unix://")


def test_a_context_is_found_in_the_config_folder_that_docker_uses(tmp_path: Path) -> None:
    config = tmp_path / "elsewhere"
    tls = write_context(config, "far", {"Host": "tcp://far:2376", "SkipTLSVerify": True})
    environ = {"DOCKER_CONFIG": str(config), "DOCKER_CONTEXT": "far"}
    assert find({**environ, "HOME": str(tmp_path)}) == Endpoint(
        "tcp://far:2376", None, verify=False
    )
    tls.mkdir(parents=True)
    assert find(environ).tls == tls


def test_the_current_context_of_the_config_counts(tmp_path: Path) -> None:
    write_context(tmp_path / ".docker", "mine", {"Host": "unix:///run/mine.sock"})
    (tmp_path / ".docker/config.json").write_text('{"currentContext": "mine"}')
    assert find({"HOME": str(tmp_path)}).url == "unix:///run/mine.sock"
    default = {"DOCKER_CONTEXT": "default", "HOME": str(tmp_path)}
    assert find(default).url != "unix:///run/mine.sock"


def test_docker_host_with_tls_takes_its_certificates_from_the_cert_path(tmp_path: Path) -> None:
    environ = {"DOCKER_HOST": "tcp://h:2376", "DOCKER_TLS_VERIFY": "1"}
    assert find({**environ, "HOME": str(tmp_path)}).tls == tmp_path / ".docker"
    assert find({**environ, "DOCKER_CERT_PATH": "/certs", "HOME": str(tmp_path)}).tls == Path(
        "/certs"
    )


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("{", "config.json cannot be read"),
        ('{"currentContext": "gone"}', "'gone' does not exist"),
        ('{"currentContext": "gone\\u001b[31m"}', r"'gone \[31m' does not exist"),
        ('{"currentContext": "\\ud800"}', "does not exist"),
    ],
)
def test_a_context_that_cannot_be_used_is_one_clear_message(
    tmp_path: Path, config: str, says: str
) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(config)
    with pytest.raises(ConfigurationError, match=says):
        find({"HOME": str(tmp_path)})


def test_a_config_that_cannot_be_read_is_told_in_the_system_s_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"cannot be read: Not a directory$"):
        find({"DOCKER_CONFIG": str(tmp_path / "file")})


@pytest.mark.parametrize(
    "url",
    [
        "docker.sock",
        "tcp://",
        "tcp://[::1",
        "tcp://h:99999",
        "tcp://h:port",
        "tcp://:2375",
        "ftp://h",
        "",
        "ssh://h",
        "ssh://",
        "npipe:////./pipe/x",
    ],
)
async def test_an_address_that_is_none_says_how_one_looks(url: str) -> None:
    with pytest.raises(ConfigurationError, match="ssh"):
        open_client(Endpoint(url))


async def test_a_certificate_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigurationError, match=str(tmp_path)):
        open_client(Endpoint("tcp://127.0.0.1:1", tmp_path))


async def test_an_engine_that_is_not_there_is_named_with_its_address_and_advice() -> None:
    with pytest.raises(EngineUnavailable) as caught:
        async with connected("unix:///nowhere/docker.sock"):
            raise AssertionError
    assert str(caught.value) == (
        "No Docker Engine answers at unix:///nowhere/docker.sock (no such file).\n"
        "  Start Docker, point DOCKER_HOST to it, or copy without it: --via direct."
    )


async def test_an_engine_that_refuses_is_told_from_one_that_is_missing() -> None:
    with pytest.raises(EngineUnavailable, match="connection refused"):
        async with connected("tcp://127.0.0.1:9"):
            raise AssertionError


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(-2, "unknown"), "its name cannot be resolved"),
        (ssl.SSLError(1, "wrong version"), "it speaks no TLS"),
        (PermissionError(13, "no"), "permission denied"),
    ],
)
def test_why_a_connection_failed_is_said_in_words(error: OSError, words: str) -> None:
    outer = LookupError("the library's own")
    outer.__cause__ = error
    assert words in reason(outer)


async def test_an_engine_whose_name_nobody_knows_is_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def resolve(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(EngineUnavailable, match="its name cannot be resolved"):
        async with connected("tcp://engine.example:2375"):
            raise AssertionError


async def test_an_engine_that_nobody_here_trusts_is_told_so(tmp_path: Path) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        raise AssertionError

    async with scripted(answer, tls=self_signed(tmp_path).context) as server:
        with pytest.raises(EngineUnavailable, match=r"is not trusted: self.signed certificate"):
            async with connected(f"https://{server.host}"):
                raise AssertionError


async def test_what_answers_as_no_engine_does_is_told_in_words_alone() -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(text="a page")

    async with scripted(answer) as server:
        with pytest.raises(EngineUnavailable, match=r"no engine \(the engine's answer is not read"):
            async with connected(f"tcp://{server.host}"):
                raise AssertionError


async def test_what_answers_but_is_no_engine_is_told_so() -> None:
    async def forbid(request: web.BaseRequest) -> web.Response:
        return web.Response(status=403, text="nothing for you")

    async with scripted(forbid) as server:
        with pytest.raises(EngineUnavailable, match=r"no engine \(403: nothing for you\)"):
            async with connected(f"tcp://{server.host}"):
                raise AssertionError


def test_a_user_without_a_home_finds_the_default_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("no home directory")

    monkeypatch.setattr(Path, "home", nobody)
    assert find({}).url.startswith("unix://")


def test_a_user_without_a_home_can_ask_an_engine(tmp_path: Path) -> None:
    """A process of its own, for aiodocker looks for a home once: when it is imported."""
    environ = {name: value for name, value in os.environ.items() if name != "HOME"}
    done = subprocess.run(
        [sys.executable, "-c", _NAMELESS, "sync", "--via=engine", "--to=r.example/t", "-"],
        cwd=tmp_path,
        env=environ | {"DOCKER_HOST": f"unix://{tmp_path}/no.sock"},
        input=b"nginx",
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"No Docker Engine answers" in done.stderr
