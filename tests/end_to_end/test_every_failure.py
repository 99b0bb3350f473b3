"""Every way to fail, through the whole command, with a secret that must not come out of it.

The registries are real; the engine is scripted, since a real one cannot be made to say these things
on demand. Each repeats our password in a message of a megabyte, with escape codes and workflow
commands in it.
"""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from parts.commands import Command
from parts.registry import Registry
from parts.scripted_engine import DIGEST, PULLED, ScriptedEngine

from asyncsync.model import errors
from asyncsync.model.errors import CopyError, Where
from asyncsync.model.job import Step

pytestmark = pytest.mark.timeout(90)

CANARY = "c4nary-p4ss"
CODED = base64.b64encode(f"tester:{CANARY}".encode()).decode()
COMMANDS = "\x1b[2J\x1b]0;owned\x07\r\n::error file=x::pwned\n##[error]pwned\n%0A::add-mask::"
HOSTILE = f"{COMMANDS} {CANARY} {CODED}"


def hostile(text: str) -> dict[str, object]:
    """The engine's last record: what it means first, then a megabyte of what it must not do."""
    return {"errorDetail": {"message": f"{text} {HOSTILE}{'A' * 1_000_000}{CANARY}"}}


def at_pull(text: str) -> Callable[[ScriptedEngine], None]:
    def script(engine: ScriptedEngine) -> None:
        engine.pull = [hostile(text)]

    return script


def at_push(text: str) -> Callable[[ScriptedEngine], None]:
    def script(engine: ScriptedEngine) -> None:
        engine.push = [hostile(text)]

    return script


def lost(engine: ScriptedEngine) -> None:
    engine.push = [{"status": "Preparing"}, None]


def stalled(engine: ScriptedEngine) -> None:
    engine.pull = [{"status": "Preparing"}, 60]


def another_digest(engine: ScriptedEngine) -> None:
    engine.distribution = [(200, {"Descriptor": {"digest": DIGEST.replace("d", "e")}})]


@dataclass(frozen=True)
class Case:
    """How the engine fails, and what a user is to read: where it was, and a part of the advice."""

    script: Callable[[ScriptedEngine], None]
    step: str
    advice: str


CASES: dict[type[CopyError], Case] = {
    CopyError: Case(at_pull("what is this"), "pull", "Run it again"),
    errors.NotFound: Case(at_pull("manifest unknown"), "pull", "Correct the name or the tag"),
    errors.AuthenticationFailed: Case(at_push("unauthorized:"), "push", "docker login "),
    errors.PermissionDenied: Case(at_push("denied:"), "push", "right to push"),
    errors.RateLimited: Case(at_pull("toomanyrequests:"), "pull", "larger quota"),
    errors.RegistryUnavailable: Case(at_push("connection refused"), "push", "is up and reachable"),
    errors.TlsError: Case(at_pull("x509: unknown authority"), "pull", "--ca-file"),
    errors.EngineLost: Case(lost, "push", "Start Docker again"),
    errors.DigestMismatch: Case(another_digest, "verify", "alters images"),
    errors.UnsupportedManifest: Case(at_pull("schema version 1"), "pull", "current format"),
    errors.RefusedByTarget: Case(at_push("manifest invalid"), "push", "rules on types"),
    errors.TargetClosed: Case(at_push("parsing HTTP 405 response"), "push", "opened for pushes"),
    errors.TargetFull: Case(at_push("no space left on device"), "push", "Free space at"),
    errors.NoSuchPlatform: Case(at_pull("no matching manifest for x"), "pull", "--platform"),
    errors.DiskFull: Case(at_pull("no space left on device"), "pull", "--clean"),
    errors.TimedOut: Case(stalled, "pull", "--timeout"),
}


def all_classes(kind: type[CopyError] = CopyError) -> set[type[CopyError]]:
    return {kind}.union(*(all_classes(child) for child in kind.__subclasses__()))


# What a registry says of a manifest that is put there directly; no engine tells these apart.
DIRECT = {errors.BlobsUnknown, errors.TypeRefused}


def test_every_class_of_error_has_a_case() -> None:
    assert set(CASES) == all_classes() - DIRECT


@pytest.mark.parametrize("output", ["table", "json"])
@pytest.mark.parametrize("kind", sorted(CASES, key=lambda kind: kind.__name__))
def test_a_failure_says_what_where_and_what_to_do_and_no_secret(
    kind: type[CopyError], output: str, registry: Registry, namespace: str,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    case = CASES[kind]
    patience = "3" if kind is errors.TimedOut else "60"
    registry.put_image(f"{namespace}/app", "1")
    image = f"{registry.host}/{namespace}/app:1"
    (asyncsync_command.folder / "images.yaml").write_text(f"{image}\n")
    env = {
        "REGISTRY": registry.host, "NAMESPACE": f"{namespace}/to",
        "REGISTRY_USER": "tester", "REGISTRY_PASSWORD": CANARY,
    }  # fmt: skip
    with ScriptedEngine() as engine:
        case.script(engine)
        done = asyncsync_command(
            "sync", "--retries", "0", "--timeout", patience, "--output", output, "-vv",
            "--log-format", "json" if output == "json" else "console",
            "--report", "report.json", "--failed-list", "failed.yaml",
            engine=engine, env=env,
        )  # fmt: skip

    assert done.returncode == 1, done.stderr
    report = json.loads((asyncsync_command.folder / "report.json").read_text())
    (outcome,) = report["outcomes"]
    error = outcome["error"]
    assert (error["kind"], error["step"]) == (kind.__name__, case.step), error
    assert error["registry"] == registry.host
    assert case.advice in error["advice"]
    assert len(error["message"]) < 1000
    if output == "json":
        assert json.loads(done.stdout) == report
    else:
        assert image in done.stdout
        assert f"{case.step} at {registry.host}" in done.stdout
        assert error["advice"] in done.stdout.replace("\n  ", " ")
    written = [path.read_text() for path in asyncsync_command.folder.glob("*.*") if path.is_file()]
    for text in (done.stdout, done.stderr, *written):
        assert "c4nary" not in text
        assert CODED not in text
        assert "\x1b" not in text
        assert not any(line.lstrip().startswith(("::", "##[")) for line in text.splitlines())
        assert "Traceback" not in text
        assert max(map(len, text.splitlines()), default=0) < 5000


@pytest.mark.parametrize("kind", sorted(CASES, key=lambda kind: kind.__name__))
def test_an_error_survives_being_pickled_and_says_the_same(kind: type[CopyError]) -> None:
    where = Where("r.example", "docker.io/library/nginx:1.27", Step.PULL)
    error = kind("no", where, transient=True, retry_after=3.0)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  our own
    assert (type(again), str(again), again.args) == (kind, str(error), error.args)
    assert again.advice()
    assert str(error).startswith("docker.io/library/nginx:1.27: no (pull at r.example). ")


def test_a_pull_that_breaks_off_is_no_success(
    registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    registry.put_image(f"{namespace}/app", "1")
    (asyncsync_command.folder / "images.yaml").write_text(f"{registry.host}/{namespace}/app:1\n")
    with ScriptedEngine() as engine:
        engine.pull = [{"status": "Pull complete", "id": "abc"}]  # ends well, without a result
        done = asyncsync_command(
            "sync", "--retries", "0", "--to", f"{registry.host}/{namespace}/to", engine=engine
        )
        assert done.returncode == 1
        assert "without a result" in done.stdout
        engine.pull, engine.push = (
            PULLED,
            [{"status": "Pushed", "id": "abc"}, {"aux": {"Tag": "1"}}],
        )
        done = asyncsync_command(
            "sync", "--retries", "0", "--to", f"{registry.host}/{namespace}/to", engine=engine
        )
        assert done.returncode == 1
        assert "without a result" in done.stdout


def test_transient_failures_are_tried_as_often_as_asked_and_others_never(
    registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    registry.put_image(f"{namespace}/app", "1")
    (asyncsync_command.folder / "images.yaml").write_text(f"{registry.host}/{namespace}/app:1\n")

    def pulls(text: str) -> int:
        with ScriptedEngine() as engine:
            engine.pull = [{"error": text}]
            asyncsync_command(
                "sync", "--retries", "2", "--to", f"{registry.host}/{namespace}/to", engine=engine
            )
            return sum("images/create" in request for request in engine.requests)

    assert pulls("connection reset by peer") == 3
    assert pulls("something unheard of") == 2
    assert pulls("manifest unknown") == 1


def test_a_login_travels_with_each_request_and_only_to_its_own_registry(
    registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    registry.put_image(f"{namespace}/app", "1")
    (asyncsync_command.folder / "images.yaml").write_text(f"{registry.host}/{namespace}/app:1\n")
    target = "127.0.0.1:9"  # nothing listens there; the scripted engine says otherwise
    env = {"REGISTRY": target, "REGISTRY_USER": "tester", "REGISTRY_PASSWORD": CANARY}
    with ScriptedEngine() as engine:
        engine.distribution = [(404, {"message": "manifest unknown"})]
        asyncsync_command("sync", "--retries", "0", engine=engine, env=env)
        logins = dict(zip(engine.requests, engine.auths, strict=True))
    sent = {
        request.partition("?")[0].rpartition("/")[2]: json.loads(base64.urlsafe_b64decode(auth))
        for request, auth in logins.items()
        if auth
    }
    assert sent["create"] == {}
    assert sent["push"]["username"] == "tester"
    assert sent["push"]["password"] == CANARY
