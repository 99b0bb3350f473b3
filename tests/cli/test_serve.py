"""`asyncsync serve`: what it says, how it ends, and with which exit code."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from parts.asking import ask
from parts.commands import Command, package_folder
from parts.processes import Process, clean_environment
from parts.serve import ServedFolder


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--listen", "0.0.0.0:0"], "Add --htpasswd FILE, or --read-only. Docker wants TLS there"),
        (["--listen", "nonsense"], "write 127.0.0.1:5000"),
        (["--htpasswd", "none"], "--htpasswd none cannot be read: No such file or directory."),
        (["--tls-cert", "none"], "--tls-cert and --tls-key belong together. Name both files."),
        (["--tls-cert", "none", "--tls-key", "none"], "--tls-cert: the file none is not there."),
        (["--read-only"], "There is no folder layout."),
    ],
)
def test_what_cannot_be_served_is_told_and_nothing_is_made(
    asyncsync_command: Command, options: list[str], says: str
) -> None:
    done = asyncsync_command("serve", "layout", *options)
    assert done.returncode == 2
    assert done.stdout == ""
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (asyncsync_command.folder / "layout").exists()


@pytest.mark.parametrize("name", ["export.tar", "oci:export.tar", "oci:", ""])
def test_what_is_no_folder_is_refused_and_nothing_is_made(
    asyncsync_command: Command, name: str
) -> None:
    done = asyncsync_command("serve", name)
    assert (done.returncode, done.stdout) == (2, "")
    assert ("unpack it into a folder" if ".tar" in name else "has no name") in done.stderr
    assert list(asyncsync_command.folder.glob("*export*")) == []


def test_a_file_is_not_served_and_no_tar_is_advised(asyncsync_command: Command) -> None:
    (asyncsync_command.folder / "export").write_text("nginx:1\n")
    done = asyncsync_command("serve", "export")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'export' is a file, and no folder: name one, as ./export" in done.stderr
    assert "tar" not in done.stderr


def test_a_folder_of_other_things_is_not_taken_for_a_layout(asyncsync_command: Command) -> None:
    home = asyncsync_command.folder / "home"
    home.mkdir()
    (home / "letter.txt").write_text("Dear\n")
    done = asyncsync_command("serve", "home", "--listen", "127.0.0.1:0")
    assert done.returncode == 2
    assert "home is no OCI layout" in done.stderr
    assert [path.name for path in home.iterdir()] == ["letter.txt"]


def test_it_says_where_it_listens_and_what_to_type(tmp_path: Path) -> None:
    with ServedFolder(tmp_path / "served") as served:
        (line,) = served.log.read_text().splitlines()
        at = f"Serving {served.data} at http://{served.host}. Type: docker"
        assert line == f"{at} push {served.host}/NAME:TAG"
        served.put_image("team/app", "1.0")
        served.stop()
        served.start()
        assert f"{at} pull {served.host}/team/app:1.0\n" in served.log.read_text()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_in_order(tmp_path: Path, number: signal.Signals, code: int) -> None:
    with ServedFolder(tmp_path / "served") as served:
        image = served.put_image("team/app", "1.0")
        begun = ask(served.host, "POST", "/v2/team/app/blobs/uploads/", b"")
        ask(served.host, "PATCH", begun.location, b"half of it")
        sent = time.monotonic()
        assert served.interrupt(number) == code
        assert time.monotonic() - sent < 5  # as promised
        assert served.log.read_text().endswith("Stopping: 1 upload under way is given up.\n")
        served.start()
        assert served.digest_of("team/app", "1.0") == image.digest
        assert ask(served.host, "GET", begun.location).codes == ["BLOB_UPLOAD_UNKNOWN"]


def test_requests_are_told_with_v_alone_and_never_with_their_query(tmp_path: Path) -> None:
    with ServedFolder(tmp_path / "loud") as served:
        ask(served.host, "GET", "/v2/team/app/tags/list?n=1&secret=s3cret")
        (request,) = served.requests("GET", "tags")
        assert (request.path, request.status) == ("/v2/team/app/tags/list", 404)
        assert "s3cret" not in served.log.read_text()
    with ServedFolder(tmp_path / "json", "--log-format", "json") as served:
        ask(served.host, "GET", "/v2/")
        served.stop()
        told = json.loads(served.log.read_text().splitlines()[1])
        assert (told["event"], told["method"], told["status"]) == ("answered", "GET", 200)
        last = json.loads(served.log.read_text().splitlines()[-1])
        assert (last["event"], last["level"], last["uploads"]) == ("interrupted", "warning", 0)


def test_a_path_is_one_word_of_what_is_told(tmp_path: Path) -> None:
    with ServedFolder(tmp_path / "served") as served:
        ask(served.host, "GET", "/v2/%20status=200%0a::error::x")
        (request,) = served.requests("GET", "error")
        assert request.path == "/v2/%20status=200%0a::error::x"
        assert request.status == 404


def test_what_clients_send_never_makes_a_traceback(tmp_path: Path) -> None:
    with ServedFolder(tmp_path / "served") as served:
        for method, path in (("BREW", "/v2/"), ("GET", "/v2/%ff%fe/tags/list"), ("GET", "//v2//")):
            assert ask(served.host, method, path).status in range(400, 500)
        served.stop()
        assert "Traceback" not in served.log.read_text()
        lines = [line for line in served.log.read_text().splitlines() if "answered " not in line]
        assert len(lines) == 2  # where it listens, and that it ends


def test_where_few_files_may_be_open_it_takes_fewer_connections(tmp_path: Path) -> None:
    few = ("sh", "-c", 'ulimit -n 100 && exec "$@"', "sh")
    serve = (sys.executable, "-m", "asyncsync", "serve", tmp_path / "layout")
    process = Process(
        *few, *serve, "--listen", "127.0.0.1:0",
        log=tmp_path / "log", env=clean_environment(tmp_path, PYTHONPATH=package_folder()),
    )  # fmt: skip
    with ExitStack() as clients:
        clients.callback(process.stop)
        port = int(process.wait_for(lambda: re.search(r":(\d+)\. Type", process.logged()))[1])

        def connected() -> socket.socket:
            return clients.enter_context(socket.create_connection(("127.0.0.1", port), 20))

        first, *_, last = [connected() for _ in range(120)]
        assert last.recv(1000).startswith(b"HTTP/1.1 503 ")
        first.sendall(b"GET /v2/_catalog HTTP/1.1\r\nHost: x\r\n\r\n")
        assert first.recv(1000).startswith(b"HTTP/1.1 200 ")


@pytest.mark.disk
def test_a_full_disk_is_told_and_others_are_still_served(tmp_path: Path) -> None:
    with ServedFolder(tmp_path / "served", tmpfs="2m") as served:
        image = served.put_image("team/app", "1", size=1000)
        begun = ask(served.host, "POST", "/v2/team/app/blobs/uploads/", b"")
        full = ask(served.host, "PATCH", begun.location, b"x" * 4_000_000)
        assert (full.status, full.codes) == (507, ["DENIED"])
        assert "No space left on device" in full.body.decode()
        assert served.digest_of("team/app", "1") == image.digest
        assert served.put_image("team/app", "2", size=1000).digest == served.digest_of(
            "team/app", "2"
        )
        told = re.findall("PATCH .*: the registry's disk is full", served.log.read_text())
        assert len(told) == 1
