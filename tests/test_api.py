"""Which way `open_sync` really opens: nobody is asked for more than whether an engine answers."""

from __future__ import annotations

import base64
import json
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from aiohttp import web
from parts.scripted_engine import ScriptedEngine
from scripted import MANIFEST, MANIFEST_TYPE, digest_of, manifest_answer, scripted

import asyncsync
from asyncsync import Chosen, ConfigurationError, EngineUnavailable, Warned
from asyncsync.model.job import Destination
from asyncsync.model.manifest import OCI_INDEX
from asyncsync.model.place import Layout
from asyncsync.model.platform import Platform
from asyncsync.stores.layout.folder import LayoutFolder

NOTHING = asyncsync.Plan(())


@pytest.fixture(autouse=True)
def nobodys_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No engine, and no docker of anybody's."""
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


@asynccontextmanager
async def an_engine(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """Something that answers as an engine does when it is asked who it is."""

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.json_response({"ApiVersion": "1.41", "Version": "20.10.5"})

    async with scripted(answer) as server:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{server.host}")
        yield f"tcp://{server.host}"


async def chosen(plan: asyncsync.Plan = NOTHING, **options: Any) -> Chosen:
    events: list[asyncsync.Event] = []
    report = await asyncsync.sync(plan, observe=events.append, **options)
    (choice,) = [event for event in events if isinstance(event, Chosen)]
    assert report.via == choice.via
    return choice


async def test_without_an_engine_it_goes_directly_and_says_why(tmp_path: Path) -> None:
    choice = await chosen()
    assert choice.via == "direct"
    assert choice.why == (
        f"no Docker Engine answers at unix://{tmp_path}/no-engine.sock (no such file)"
    )


async def test_an_engine_that_answers_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    async with an_engine(monkeypatch) as url:
        choice = await chosen()
    assert choice.via == "engine"
    assert choice.why.endswith(f"answers at {url}")


@pytest.mark.parametrize(
    "options", [{"via": "direct"}, {"limit_rate": 1e6}, {"with_referrers": True}]
)
async def test_an_engine_that_answers_is_not_asked_where_the_way_is_settled(
    options: dict[str, Any],
) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        raise AssertionError

    async with scripted(answer) as server:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOCKER_HOST", f"tcp://{server.host}")
            assert (await chosen(**options)).via == "direct"
    assert server.requests == []


async def test_an_engine_that_is_named_and_absent_is_an_error() -> None:
    for options in ({"via": "engine"}, {"engine": "unix:///none"}):
        with pytest.raises(EngineUnavailable, match="--via direct"):
            await chosen(**options)


async def test_an_engine_whose_address_makes_no_sense_is_told_and_not_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "what")
    with pytest.raises(ConfigurationError, match="no address of a Docker Engine"):
        await chosen()


async def test_an_error_inside_the_block_opens_no_other_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[asyncsync.Event] = []
    async with an_engine(monkeypatch):
        with pytest.raises(EngineUnavailable, match="the caller's own"):
            async with asyncsync.open_sync(NOTHING, observe=events.append):
                raise EngineUnavailable("the caller's own")
    assert [type(event) for event in events] == [Chosen]


async def test_a_plan_for_several_platforms_goes_directly_however_the_settings_are() -> None:
    plan = await asyncsync.plan(
        ["127.0.0.1:1/a:1"], to="127.0.0.1:1/b", platforms=["linux/amd64", "linux/arm64"]
    )
    with pytest.raises(ConfigurationError, match=r"several platforms .*linux/arm64"):
        await chosen(plan, via="engine")
    choice = await chosen(plan, retries=0)
    assert choice.why.startswith("no engine can do several platforms of an image")


async def test_layouts_are_told_in_the_order_in_which_images_go(tmp_path: Path) -> None:
    for number in range(8):  # by chance it would be the order of some
        source, target = f"oci:{tmp_path}/from-{number}", f"oci:{tmp_path}/to-{number}"
        LayoutFolder.open(Path(source.removeprefix("oci:")), create=True)
        plan = await asyncsync.plan(["app:1"], to=target, from_=source)
        choice = await chosen(plan)
        assert choice.why == f"no engine can do an OCI layout ({source}, {target})"


A_PLAN: dict[str, Any] = {
    "to": "r.example/team", "from_": "oci:./x", "platforms": ["linux/amd64", "linux/arm64"]
}  # fmt: skip


@pytest.mark.parametrize(
    ("option", "value", "planned"),
    [
        ("to", "r.example", "r.example/team"),
        ("to", "r.example/team/more", "r.example/team"),
        ("to", "oci:./y", "r.example/team"),
        ("from_", "oci:./z", "oci:./x"),
        ("platforms", ["linux/arm64"], "linux/amd64, linux/arm64"),
    ],
)
async def test_an_option_that_says_otherwise_than_the_plan_is_refused_and_not_passed_over(
    option: str, value: Any, planned: str
) -> None:
    plan = await asyncsync.plan(["a:1", "b:1"], **A_PLAN)
    events: list[asyncsync.Event] = []
    with pytest.raises(ConfigurationError) as caught:
        await asyncsync.sync(plan, **{**A_PLAN, option: value}, observe=events.append)
    said = value if isinstance(value, str) else ", ".join(value)
    assert str(caught.value) == (
        f"{option} is {said}, but the plan was made with {planned}. "
        f"Leave {option}= out, or make another plan with it."
    )
    assert events == []


async def test_a_plan_for_a_registry_and_no_platform_contradicts_a_layout_and_a_platform() -> None:
    plan = await asyncsync.plan(["r.example/a:1"], to="s.example")
    with pytest.raises(ConfigurationError, match=r"^from_ is oci:\./x, but .* with r\.example\. "):
        await asyncsync.sync(plan, from_="oci:./x")
    with pytest.raises(ConfigurationError, match=r"^platforms is .* with none in particular\. "):
        await asyncsync.sync(plan, platforms=["linux/amd64"])


async def test_what_a_plan_was_made_with_may_be_said_again_in_any_form_and_nothing_is_free(
    tmp_path: Path,
) -> None:
    at: dict[str, Any] = {**A_PLAN, "to": f"oci:{tmp_path}/y", "from_": f"oci:{tmp_path}/x"}
    (tmp_path / "x").mkdir()
    (tmp_path / "x/oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (tmp_path / "x/index.json").write_text('{"schemaVersion": 2, "manifests": []}')
    plan = await asyncsync.plan(["a:1"], **at)
    again: dict[str, Any] = {
        "to": Destination.parse(f"{at['to']}/"), "from_": Layout.parse(at["from_"]),
        "platforms": [Platform.parse("linux/arm64"), "linux/amd64"],
    }  # fmt: skip
    (outcome,) = (await asyncsync.sync(plan, **again)).outcomes
    assert isinstance(outcome.error, asyncsync.NotFound)
    assert (await asyncsync.sync(NOTHING, **A_PLAN | {"from_": None})).ok


@pytest.mark.parametrize(
    ("option", "value"),
    [("to", 5), ("to", None), ("from_", 5), ("platforms", "linux/amd64"), ("platforms", [None]),
     ("shard", 2), ("shard", "5/4")],
)  # fmt: skip
async def test_a_plan_takes_no_option_of_a_wrong_kind(option: str, value: Any) -> None:
    with pytest.raises(ConfigurationError):
        await asyncsync.plan(["a:1"], **{**A_PLAN, option: value})


async def test_a_platform_that_is_named_twice_is_wanted_once() -> None:
    plan = await asyncsync.plan(
        ["a.example/a:1"], to="b.example/b", platforms=["linux/amd64", "linux/amd64"]
    )
    assert [len(job.platforms) for job in plan.jobs] == [1]


@pytest.mark.parametrize("via", ["engine", "direct"])
async def test_what_a_registry_warns_of_is_an_event_on_either_way(
    via: Literal["engine", "direct"], tmp_path: Path
) -> None:
    events: list[asyncsync.Event] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(status=404, headers={"Warning": '299 - "it will be gone in March"'})

    async with scripted(answer) as server:
        with ScriptedEngine() as engine:
            await asyncsync.sync(
                [f"{server.host}/a:1", f"{server.host}/a:2"], to=f"{server.host}/b",
                via=via, engine=engine.url if via == "engine" else None,
                retries=0, observe=events.append, docker_config=tmp_path,
            )  # fmt: skip
    warned = [event for event in events if isinstance(event, Warned)]
    assert warned == [Warned(server.host, "it will be gone in March")]


SECRET = "c4nary_s3cret"
CHILD = {"mediaType": MANIFEST_TYPE, "digest": digest_of(MANIFEST), "size": len(MANIFEST)}
OF_AN_ODD_TYPE = CHILD | {"mediaType": SECRET}
OF_AN_ODD_DIGEST = CHILD | {"digest": SECRET}
FOR_AN_ODD_PLATFORM = CHILD | {"platform": {"os": SECRET, "architecture": SECRET}}


@asynccontextmanager
async def quoting(entry: dict[str, Any]) -> AsyncIterator[str]:
    """A registry: `a:1` has `entry`, `b:1` and `x/b:1` have it among what refers to them."""
    page = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).encode()

    async def answer(request: web.BaseRequest) -> web.Response:
        if "Authorization" not in request.headers:
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})
        if "/referrers/" in request.path or request.path == "/v2/a/manifests/1":
            return manifest_answer(page, OCI_INDEX)
        if request.path.startswith("/v2/a/"):
            data = MANIFEST if request.path.endswith(digest_of(MANIFEST)) else page
            return manifest_answer(data, MANIFEST_TYPE if data is MANIFEST else OCI_INDEX)
        there = request.path.endswith("/b/manifests/1")
        return manifest_answer() if there else web.Response(status=404)

    async with scripted(answer) as server:
        yield server.host


async def outcome_of(image: str, tmp_path: Path, **options: Any) -> asyncsync.Outcome:
    """What becomes of `image`, copied to `x/` in its own registry, with our login there."""
    login = base64.b64encode(f"us:{SECRET}".encode()).decode()
    host = image.partition("/")[0]
    (tmp_path / "config.json").write_text(json.dumps({"auths": {host: {"auth": login}}}))
    events: list[asyncsync.Event] = []
    report = await asyncsync.sync(
        [image], to=f"{host}/x", docker_config=tmp_path, observe=events.append, **options
    )
    assert SECRET not in repr(events)
    return report.outcomes[0]


@pytest.mark.parametrize(
    ("via", "entry", "platforms"),
    [
        ("direct", OF_AN_ODD_TYPE, []),
        ("direct", OF_AN_ODD_DIGEST, []),
        ("direct", FOR_AN_ODD_PLATFORM, ["linux/amd64"]),
        ("engine", OF_AN_ODD_DIGEST, []),
        ("engine", FOR_AN_ODD_PLATFORM, []),
    ],
)
async def test_a_login_that_is_quoted_from_a_manifest_is_not_told(
    via: Literal["engine", "direct"], entry: dict[str, Any], platforms: list[str], tmp_path: Path
) -> None:
    with ScriptedEngine() as engine:
        url = engine.url if via == "engine" else None
        async with quoting(entry) as host:
            outcome = await outcome_of(
                f"{host}/a:1", tmp_path, via=via, engine=url, platforms=platforms
            )
    assert outcome.error is not None
    told = "".join(traceback.format_exception(outcome.error))
    assert "***" in told
    assert SECRET not in told


async def test_a_login_that_is_quoted_in_a_note_is_not_told(tmp_path: Path) -> None:
    async with quoting(OF_AN_ODD_TYPE) as host:
        outcome = await outcome_of(f"{host}/b:1", tmp_path, via="direct", with_referrers=True)
    kind = "it is of the type '***'"
    assert outcome.notes == (f"left out the referrer {digest_of(MANIFEST)}: {kind}",)
