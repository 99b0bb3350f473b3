"""`asyncsync demo` where there is nothing but Python: no engine, no network, no program beside."""

from __future__ import annotations

import fcntl
import html
import os
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from parts.commands import Command, package_folder, statuses
from parts.processes import once
from parts.registry import Registry
from parts.serve import ServedFolder

PICTURE = Path(__file__).parent.parent.parent / "docs" / "demo.svg"
COLUMN = 12.2  # how wide the picture draws a letter
TOLD = """\
Two registries run on this machine now, one with six images and one empty.
No Docker, no network, no login. This is a list, as you would keep it:

$ cat images.yaml
# what others build on
SOURCE/demo/base:1
SOURCE/demo/runtime:3.13

# ours
SOURCE/demo/api:2.0
SOURCE/demo/api:2.1   # the next one
SOURCE/demo/web:5
SOURCE/demo/worker:1

What would go where:

$ asyncsync plan --to TARGET/team
  SOURCE/demo/base:1        TARGET/team/base:1
  SOURCE/demo/runtime:3.13  TARGET/team/runtime:3.13
  SOURCE/demo/api:2.0       TARGET/team/api:2.0
  SOURCE/demo/api:2.1       TARGET/team/api:2.1
  SOURCE/demo/web:5         TARGET/team/web:5
  SOURCE/demo/worker:1      TARGET/team/worker:1
6 images. Nothing was copied.

Copy, straight from one registry to the other:

$ asyncsync sync --via direct --to TARGET/team
6 images to TARGET/team, 64 at once, via=direct: as asked
  copied       SOURCE/demo/api:2.0       2 platforms   …
  copied       SOURCE/demo/api:2.1       2 platforms   …
  copied       SOURCE/demo/base:1        2 platforms   …
  copied       SOURCE/demo/runtime:3.13  2 platforms   …
  copied       SOURCE/demo/web:5         2 platforms   …
  copied       SOURCE/demo/worker:1      2 platforms   …

6 copied. 5.3 MB moved, 13.7 MB shared between images and not moved again, in # s. \
succeeded.log names what is in place.

Again, with nothing changed:

$ asyncsync sync --via direct --to TARGET/team
6 images to TARGET/team, 64 at once, via=direct: as asked
  unchanged    SOURCE/demo/api:2.0
  unchanged    SOURCE/demo/api:2.1
  unchanged    SOURCE/demo/base:1
  unchanged    SOURCE/demo/runtime:3.13
  unchanged    SOURCE/demo/web:5
  unchanged    SOURCE/demo/worker:1

6 unchanged. Nothing was moved in # s. succeeded.log names what is in place.
That took 12 requests and moved 0 bytes.

mistake.yaml is the same list with one more image, which does not exist (-q tells failures alone):

$ asyncsync sync --via direct --to TARGET/team -q mistake.yaml
  failed       SOURCE/demo/web:6         mistake.yaml:10

SOURCE/demo/web:6 (mistake.yaml:10): SOURCE/demo/web has no tag 6 (resolve at SOURCE).
  Correct the name or the tag in the list, or comment the line out with #.

6 unchanged, 1 failed. Nothing was moved in # s. succeeded.log names what is in place.
Then run the same command again: what is in place is skipped.
Until then, sync ends with exit code 1.

"""
DELETED = """\
All of it was in FOLDER, and is deleted. --keep FOLDER keeps it.
Yours: write one image a line into images.yaml, then type
  asyncsync sync --to YOUR-REGISTRY/NAMESPACE
"""
KEPT = """\
All of it is in kept: lists, succeeded.log, the registries' folders.
The second registry is there again with: asyncsync serve kept/target
Yours: write one image a line into images.yaml, then type
  asyncsync sync --to YOUR-REGISTRY/NAMESPACE
"""
# Python runs it before all else. Of what a program can do with the world, it lets through what
# stays on this machine; other programs are not part of Python.
GUARD = """\
import os, sys

def look(event, args):
    if event in ("socket.connect", "socket.bind", "socket.sendto"):
        within = args[1][0] == "127.0.0.1"
    elif event == "socket.getaddrinfo":
        within = args[0] == "127.0.0.1"
    else:
        within = event not in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system")
    if not within:
        os.write(2, f"out of Python: {event} {args}".encode())
        os._exit(99)

sys.addaudithook(look)
"""


class Bare:
    """A folder, and an environment of which Python is all there is."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.temporary = folder, folder / "tmp"
        programs, guard = folder / "bin", folder / "guard"
        for made in (self.temporary, programs, guard):
            made.mkdir()
        (programs / "python3").symlink_to(sys.executable)
        (guard / "sitecustomize.py").write_text(GUARD)
        kept = {name: os.environ[name] for name in os.environ if name.startswith("COVERAGE_")}
        self.environment = {
            **kept, "PATH": str(programs), "HOME": str(folder), "TMPDIR": str(self.temporary),
            "PYTHONPATH": f"{guard}:{package_folder()}", "LANG": "C.UTF-8",
        }  # fmt: skip

    def demo(self, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "asyncsync", "demo", *options], cwd=self.folder,
            env={**self.environment, **variables}, text=True, capture_output=True,
            stdin=subprocess.DEVNULL, timeout=50, check=False,
        )  # fmt: skip


@pytest.fixture
def bare(tmp_path: Path) -> Bare:
    return Bare(tmp_path)


def as_expected(told: str) -> str:
    """What was told, without ports, times, and the order and shares that are chance."""
    for host, name in ((r"(\S+)/demo/base:1", "SOURCE"), (r"plan --to (\S+)/team", "TARGET")):
        found = re.search(host, told)
        assert found, told
        told = told.replace(found[1], name)
    told = told.replace(f"{sys.executable} -m asyncsync", "asyncsync")  # not on PATH here
    told = re.sub(r"(?<=2 platforms   ).*", "…", told)
    told = re.sub(r"(?<=in )\d+\.?\d* s\b", "# s", told)
    told = re.sub(r"/\S+/asyncsync-demo-\w+", "FOLDER", told)
    return re.sub(
        r"(^  (?:copied|unchanged)  .*\n)+",
        lambda rows: "".join(sorted(rows[0].splitlines(keepends=True))),
        told,
        flags=re.MULTILINE,
    )


def with_columns(told: str) -> str:
    """The same with two blanks between columns, whose width is that of the ports."""
    return re.sub(r"(?<=\S) {2,}", "  ", told)


def test_it_shows_all_of_it_with_python_alone_and_leaves_nothing(bare: Bare) -> None:
    done = bare.demo()
    assert (done.returncode, done.stderr) == (0, "")
    assert with_columns(as_expected(done.stdout)) == with_columns(TOLD + DELETED)
    assert list(bare.temporary.iterdir()) == []
    assert {path.name for path in bare.folder.iterdir()} == {"tmp", "bin", "guard"}


def test_nobody_s_settings_change_what_it_shows(bare: Bare) -> None:
    broken = bare.folder / "docker"
    broken.mkdir()
    (broken / "config.json").write_text("no JSON")
    done = bare.demo(
        ASYNCSYNC_CONCURRENCY="3", ASYNCSYNC_VIA="engine", ASYNCSYNC_SUCCEEDED_LOG="/no/such.log",
        REGISTRY="r.example", HTTP_PROXY="http://proxy.example:3128", DOCKER_CONFIG=str(broken),
        DOCKER_HOST="tcp://engine.example:2375",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert with_columns(as_expected(done.stdout)) == with_columns(TOLD + DELETED)


def test_a_folder_that_is_kept_has_the_lists_the_log_and_both_registries(
    bare: Bare, own_registry: Registry, asyncsync_command: Command
) -> None:
    done = bare.demo("--keep", "kept")
    assert (done.returncode, done.stderr) == (0, "")
    assert with_columns(as_expected(done.stdout)) == with_columns(TOLD + KEPT)
    assert list(bare.temporary.iterdir()) == []
    kept = bare.folder / "kept"
    held = {"images.yaml", "mistake.yaml", "succeeded.log", "source", "target"}
    assert {path.name for path in kept.iterdir()} == held
    assert len((kept / "succeeded.log").read_text().splitlines()) == 6
    # The list is as it was shown, and the registry that it names is one again.
    (bare.folder / "data").symlink_to(kept / "source")
    with ServedFolder(bare.folder, "--read-only") as served:
        listed = re.sub(r"127\.0\.0\.1:\d+", served.host, (kept / "images.yaml").read_text())
        again = asyncsync_command(
            "sync", "-", "--via", "direct", "--with-referrers", "--output", "json",
            "--to", f"{own_registry.host}/again", input=listed,
        )  # fmt: skip
        assert again.returncode == 0, again.stderr
        assert set(statuses(again.stdout).values()) == {"copied"}
        digest = served.digest_of("demo/api", "2.0")
        assert own_registry.digest_of("again/api", "2.0") == digest
        assert own_registry.tags("again/api") == ["2.0", "2.1", digest.replace(":", "-")]


def test_what_was_kept_is_carried_as_an_air_gapped_site_carries_it(
    bare: Bare, own_registry: Registry, asyncsync_command: Command
) -> None:
    assert bare.demo("--keep", "kept").returncode == 0
    done = asyncsync_command(
        "sync", "-", "--from", f"oci:{bare.folder}/kept/target", "--to",
        f"{own_registry.host}/carried", "--output", "json", input="team/web:5\nteam/worker:1\n",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert statuses(done.stdout) == {"web:5": "copied", "worker:1": "copied"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_signal_ends_it_in_order_and_leaves_nothing(bare: Bare, number: signal.Signals) -> None:
    """It writes into a pipe that has no room for all of it: so it cannot be over before."""
    reading, writing = os.pipe()
    room = fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096) - 2500
    filled = os.write(writing, b"." * (4096 - room))
    process = subprocess.Popen(
        [sys.executable, "-m", "asyncsync", "demo"], cwd=bare.folder, env=bare.environment,
        text=True, stdout=writing, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(writing)
    once(lambda: waiting(reading) > filled or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    process.send_signal(number)
    with open(reading, encoding="utf-8") as pipe:
        told = pipe.read()
    _, said = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert said == "Stopped. Nothing is left behind.\n"
    assert "That took" not in told
    assert list(bare.temporary.iterdir()) == []


def waiting(pipe: int) -> int:
    """How many bytes are in a pipe."""
    (count,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))
    return int(count)


def drawn_in(picture: str) -> str:
    """The lines of text in a picture; where nothing is drawn, nothing is said."""
    lines: dict[float, str] = {}
    pattern = r'<text class="demo-r\d" x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)</text>'
    for x, y, text in re.findall(pattern, picture):
        before = lines.get(float(y), "").ljust(round(float(x) / COLUMN))
        lines[float(y)] = before + html.unescape(text).replace("\xa0", " ")
    return "".join(f"{lines[y]}\n" for y in sorted(lines))


def test_the_picture_in_the_readme_shows_what_it_tells() -> None:
    picture = PICTURE.read_text()
    told = re.sub(r"\n+", "\n", f"$ asyncsync demo\n{TOLD}{DELETED}")
    assert with_columns(as_expected(drawn_in(picture))) == with_columns(told)
    for loads in ("@font-face", "@import", "href", "<image", "<script", "url(http"):
        assert loads not in picture
