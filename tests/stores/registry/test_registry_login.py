from __future__ import annotations

import base64
import gc
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web
from anyio import CancelScope, Event, create_task_group, fail_after, wait_all_tasks_blocked
from multidict import CIMultiDict
from scripted import Handler, Scripted, endless, manifest_answer, scripted

from asyncsync.credentials import Credentials
from asyncsync.model.access import Access, Credential
from asyncsync.model.errors import (
    AuthenticationFailed,
    CopyError,
    PermissionDenied,
    RateLimited,
    RegistryUnavailable,
)
from asyncsync.model.reference import Reference
from asyncsync.stores.registry.client import RegistryClient
from asyncsync.stores.registry.tokens import Wanted

ALICE = Credential("alice", password="c4nary-s3cret")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class TokenRegistry:
    """A registry that wants tokens, and gives them itself: an honest, tiny one.

    Each token is good for its scope alone, and for as long as the test leaves it in `good`.
    """

    def __init__(self) -> None:
        self.good: dict[str, str] = {}  # token → scope
        self.given = 0
        self.password: str | None = None  # of alice; None: everybody gets tokens
        self.realm_path = "/token"
        self.challenge = 'Bearer realm="http://{host}{path}",service="r.example"'
        self.expires: int | None = 300
        self.gate: Event | None = None

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/token":
            return await self.token(request)
        return self.manifest(request)

    async def token(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.gate is not None:
            await self.gate.wait()
        if self.password is not None:
            pair = f"alice:{self.password}".encode()
            if request.headers.get("Authorization") != f"Basic {base64.b64encode(pair).decode()}":
                return web.json_response({"details": "incorrect username or password"}, status=401)
        self.given += 1
        token = f"token-{self.given}"
        self.good[token] = request.query["scope"]
        return web.json_response({"token": token, "expires_in": self.expires})

    def manifest(self, request: web.BaseRequest) -> web.StreamResponse:
        repository = request.path.removeprefix("/v2/").partition("/manifests/")[0]
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.good.get(token) == f"repository:{repository}:pull":
            return manifest_answer()
        challenge = self.challenge.format(host=request.headers["Host"], path=self.realm_path)
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})


@asynccontextmanager
async def asking(
    server: Scripted, who: Credential | None = None, clock: Clock | None = None
) -> AsyncIterator[RegistryClient]:
    credentials = Credentials({server.host: who} if who else {}, environ={})
    access = Access(plain_http=frozenset({server.host}))
    async with RegistryClient(
        access, credentials, idle_seconds=5, clock=clock or Clock()
    ) as client:
        yield client


def image(server: Scripted, repository: str = "team/app", tag: str = "1") -> Reference:
    return Reference.parse(f"{server.host}/{repository}:{tag}")


def asked(server: Scripted) -> list[str]:
    return [f"{seen.method} {urlsplit(seen.path).path}" for seen in server.requests]


def challenging(header: str) -> Handler:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(status=401, headers={"WWW-Authenticate": header})

    return answer


async def test_the_real_request_comes_first_and_a_token_answers_its_challenge() -> None:
    async with scripted(TokenRegistry()) as server, asking(server) as client:
        assert await client.resolve(image(server)) is not None
    assert asked(server) == [
        "HEAD /v2/team/app/manifests/1",
        "GET /token",
        "HEAD /v2/team/app/manifests/1",
    ]
    query = parse_qs(urlsplit(server.requests[1].path).query)
    assert query == {"service": ["r.example"], "scope": ["repository:team/app:pull"]}


async def test_one_token_serves_50_who_ask_at_once() -> None:
    registry = TokenRegistry()
    registry.gate = Event()
    async with (
        scripted(registry) as server,
        asking(server) as client,
        create_task_group() as group,
    ):
        for number in range(50):
            group.start_soon(client.resolve, image(server, tag=f"t{number}"))
        while not server.seen("GET", "/token"):
            await wait_all_tasks_blocked()
        registry.gate.set()
    assert len(server.seen("GET", "/token")) == 1
    assert len(server.seen("HEAD")) <= 100


async def test_a_token_is_used_again_without_a_challenge_and_for_its_repository_alone() -> None:
    async with scripted(TokenRegistry()) as server, asking(server) as client:
        for _ in range(3):
            await client.resolve(image(server))
        await client.resolve(image(server, "team/other"))
    assert len(server.seen("HEAD", "/v2/team/app/")) == 4
    assert len(server.seen("GET", "/token")) == 2


async def test_if_the_one_who_fetches_a_token_is_cancelled_a_waiter_takes_over() -> None:
    registry, found = TokenRegistry(), []
    registry.gate = Event()

    async def first(client: RegistryClient, server: Scripted, scope: CancelScope) -> None:
        with scope:
            await client.resolve(image(server, tag="first"))

    async def second(client: RegistryClient, server: Scripted) -> None:
        found.append(await client.resolve(image(server, tag="second")))

    async with (
        scripted(registry) as server,
        asking(server) as client,
        create_task_group() as group,
    ):
        scope = CancelScope()
        group.start_soon(first, client, server, scope)
        while not server.seen("GET", "/token"):
            await wait_all_tasks_blocked()
        group.start_soon(second, client, server)
        while len(server.seen("HEAD")) < 2:
            await wait_all_tasks_blocked()
        scope.cancel()
        registry.gate.set()
    assert found != [None]
    assert len(server.seen("GET", "/token")) == 2


async def test_a_token_is_renewed_before_it_ends() -> None:
    clock = Clock()
    async with scripted(TokenRegistry()) as server, asking(server, clock=clock) as client:
        for now in (1000, 1000 + 269, 1000 + 271):
            clock.now = now
            await client.resolve(image(server))
    assert len(server.seen("GET", "/token")) == 2
    assert len(server.seen("HEAD")) == 4  # one challenge in all


async def test_tokens_that_have_ended_are_not_kept() -> None:
    clock = Clock()
    async with scripted(TokenRegistry()) as server, asking(server, clock=clock) as client:
        for number in range(20):
            await client.resolve(image(server, f"team/app{number}"))
            clock.now += 100
        gc.collect()
        wanted = [each for each in gc.get_objects() if isinstance(each, Wanted)]
        kept = [each for each in wanted if each.at.authority == server.host]
    assert len(kept) == 3  # of 270 seconds each
    assert len(server.seen("GET", "/token")) == 20


async def test_a_token_that_the_registry_no_longer_takes_is_renewed_once() -> None:
    registry = TokenRegistry()
    async with scripted(registry) as server, asking(server) as client:
        await client.resolve(image(server))
        registry.good.clear()
        assert await client.resolve(image(server)) is not None
    assert len(server.seen("GET", "/token")) == 2
    assert len(server.seen("HEAD")) == 4


async def test_a_fresh_token_that_is_refused_means_no_right_and_is_not_repeated() -> None:
    registry = TokenRegistry()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = await registry(request)
        registry.good.clear()
        return response

    async with scripted(answer) as server:
        async with asking(server) as client:
            with pytest.raises(PermissionDenied, match="does not exist, or needs a login"):
                await client.resolve(image(server))
        async with asking(server, ALICE) as client:
            with pytest.raises(PermissionDenied, match="the credentials for user alice, but"):
                await client.resolve(image(server))
    assert len(server.seen("GET", "/token")) == 2


async def test_a_token_server_that_is_down_is_asked_once_for_all_who_wait() -> None:
    gate, errors = Event(), []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/token":
            await gate.wait()
            return web.Response(status=503, headers={"Retry-After": "3"})
        return TokenRegistry().manifest(request)

    async def ask(client: RegistryClient, ref: Reference) -> None:
        try:
            await client.resolve(ref)
        except RegistryUnavailable as error:
            errors.append(error)

    async with (
        scripted(answer) as server,
        asking(server) as client,
        create_task_group() as group,
    ):
        for number in range(10):
            group.start_soon(ask, client, image(server, tag=f"t{number}"))
        while len(server.seen("HEAD")) < 10:
            await wait_all_tasks_blocked()
        gate.set()
    assert len({id(error) for error in errors}) == 10
    assert {(error.transient, error.retry_after) for error in errors} == {(True, 3.0)}
    assert len(server.seen("GET", "/token")) == 1


async def test_an_insufficient_scope_is_asked_for_once_and_then_known() -> None:
    wider = "repository:team/app:pull,push"
    tokens: list[str] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/token":
            tokens.append(request.query["scope"])
            return web.json_response({"token": f"t{len(tokens)}"})
        if request.headers.get("Authorization") == "Bearer t2":
            return manifest_answer()
        realm = f'Bearer realm="http://{request.headers["Host"]}/token"'
        lack = f'{realm},error="insufficient_scope",scope="{wider}"'
        return web.Response(status=401, headers={"WWW-Authenticate": lack if tokens else realm})

    async with scripted(answer) as server, asking(server) as client:
        for _ in range(2):
            assert await client.resolve(image(server)) is not None
    assert tokens == ["repository:team/app:pull", wider]


async def test_a_scope_that_is_said_to_be_missing_and_was_given_is_asked_for_no_more() -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/token":
            return web.json_response({"token": f"t{len(server.seen('GET', '/token'))}"})
        realm = f'Bearer realm="http://{request.headers["Host"]}/token"'
        lack = f'{realm},error="insufficient_scope",scope="repository:team/app:pull"'
        return web.Response(status=401, headers={"WWW-Authenticate": lack})

    async with scripted(answer) as server, asking(server) as client:
        with pytest.raises(PermissionDenied, match="does not exist, or needs a login"):
            await client.resolve(image(server))
    assert len(server.seen("GET", "/token")) == 1
    assert len(server.seen("HEAD")) == 2


async def test_a_malformed_scope_is_ignored_and_a_400_denied_renews_the_token_once() -> None:
    given: list[str] = []
    denied = {"errors": [{"code": "DENIED", "message": "Your Authorization Token is invalid."}]}

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/token":
            given.append(request.query["scope"])
            return web.json_response({"token": f"t{len(given)}"})
        shown = request.headers.get("Authorization")
        if shown is None:
            realm = f'Bearer realm="http://{request.headers["Host"]}/token",scope="aws"'
            return web.Response(status=401, headers={"WWW-Authenticate": realm})
        if shown == f"Bearer t{len(given)}" and len(given) > 1:
            return manifest_answer()
        return web.json_response(denied, status=400)

    async with scripted(answer) as server, asking(server) as client:
        with pytest.raises(PermissionDenied):
            await client.manifest(image(server))
        assert await client.manifest(image(server)) is not None
    assert set(given) == {"repository:team/app:pull"}


async def test_a_head_that_is_still_400_with_a_new_token_is_no_matter_of_rights() -> None:
    registry = TokenRegistry()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = await registry(request)
        bad = request.method == "HEAD" and response.status == 200
        return web.Response(status=400) if bad else response

    async with scripted(answer) as server, asking(server) as client:
        with pytest.raises(CopyError, match="answered 400 Bad Request") as caught:
            await client.resolve(image(server))
    assert type(caught.value) is CopyError
    assert len(server.seen("GET", "/token")) == 1


async def test_a_registry_without_challenge_is_asked_for_it_at_its_door() -> None:
    registry = TokenRegistry()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = await registry(request)
        if request.path != "/v2/":
            response.headers.popall("WWW-Authenticate", None)
        return response

    async with scripted(answer) as server, asking(server) as client:
        assert await client.resolve(image(server)) is not None
    assert "GET /v2/" in asked(server)


async def test_a_registry_that_never_says_how_to_log_in_refuses_us() -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(status=200 if request.path == "/v2/" else 401)

    async with scripted(answer) as server, asking(server, ALICE) as client:
        with pytest.raises(PermissionDenied, match="does not say how to log in"):
            await client.resolve(image(server))
    assert all("Authorization" not in seen.headers for seen in server.requests)


async def test_a_token_is_preferred_where_both_are_offered() -> None:
    registry = TokenRegistry()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = await registry(request)
        if response.status == 401:
            headers = CIMultiDict({"WWW-Authenticate": 'Basic realm="r"'})
            headers.add("WWW-Authenticate", response.headers["WWW-Authenticate"])
            return web.Response(status=401, headers=headers)
        return response

    async with scripted(answer) as server, asking(server, ALICE) as client:
        assert await client.resolve(image(server)) is not None
    last = server.requests[-1].headers["Authorization"]
    assert last.startswith("Bearer ")


async def test_a_password_goes_to_the_token_server_of_its_registry() -> None:
    registry = TokenRegistry()
    registry.password = ALICE.password
    async with scripted(registry) as server, asking(server, ALICE) as client:
        assert await client.resolve(image(server)) is not None
    assert [s.headers.get("Authorization", "")[:6] for s in server.requests] == [
        "",
        "Basic ",
        "Bearer",
    ]


@pytest.mark.parametrize(
    ("who", "what"),
    [
        (None, "wants a login"),
        (Credential("alice", "wrong"), "refuses the credentials for user alice"),
    ],
)
async def test_wanting_a_login_and_refusing_ours_are_told_apart(
    who: Credential | None, what: str
) -> None:
    registry = TokenRegistry()
    registry.password = "right"
    async with scripted(registry) as server, asking(server, who) as client:
        with pytest.raises(AuthenticationFailed) as caught:
            await client.resolve(image(server))
    assert caught.value.what.startswith(f"{server.host} {what}")
    assert "incorrect username or password" in caught.value.what
    assert not caught.value.transient


async def test_a_wrong_password_is_sent_to_a_token_server_once_in_a_run() -> None:
    registry, errors = TokenRegistry(), []
    registry.password = "right"

    async def ask(client: RegistryClient, ref: Reference) -> None:
        try:
            await client.resolve(ref)
        except AuthenticationFailed as error:
            errors.append(error)

    async with scripted(registry) as server, asking(server, ALICE) as client:
        async with create_task_group() as group:
            for number in range(20):
                group.start_soon(ask, client, image(server, f"team/app{number}"))
        await ask(client, image(server, "team/later"))
    assert len(errors) == 21
    assert len(server.seen("GET", "/token")) == 1


async def test_a_wrong_password_is_sent_to_a_registry_once_in_a_run() -> None:
    async with scripted(challenging("Basic")) as server, asking(server, ALICE) as client:
        for number in range(3):
            with pytest.raises(
                AuthenticationFailed, match="refuses the credentials for user alice"
            ):
                await client.resolve(image(server, f"team/app{number}"))
    assert len([s for s in server.requests if "Authorization" in s.headers]) == 1


async def test_a_right_password_is_not_held_back_because_one_repository_refuses_it() -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if "Authorization" not in request.headers:
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})
        return web.Response(status=403) if "secret" in request.path else manifest_answer()

    async with scripted(answer) as server, asking(server, ALICE) as client:
        with pytest.raises(PermissionDenied):
            await client.resolve(image(server, "team/secret"))
        assert await client.resolve(image(server)) is not None


async def test_a_registry_that_wants_a_password_of_nobody_says_so() -> None:
    async with scripted(challenging('Basic realm="r"')) as server, asking(server) as client:
        with pytest.raises(AuthenticationFailed, match="wants a login"):
            await client.resolve(image(server))
    assert len(server.requests) == 1


async def test_an_identity_token_is_turned_into_a_token_by_a_form() -> None:
    registry = TokenRegistry()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/token":
            registry.good["t"] = "repository:team/app:pull"
            return web.json_response({"access_token": "t"})
        return registry.manifest(request)

    who = Credential("<token>", identity_token="id-c4nary")
    async with scripted(answer) as server, asking(server, who) as client:
        assert await client.resolve(image(server)) is not None
    (post,) = server.seen("POST", "/token")
    form = parse_qs(post.body.decode())
    assert form["grant_type"] == ["refresh_token"]
    assert form["refresh_token"] == ["id-c4nary"]
    assert form["scope"] == ["repository:team/app:pull"]
    assert post.path == "/token"  # nothing of it in an address, which is logged


@pytest.mark.parametrize(
    "who",
    [
        Credential("alice", password="pass\udcffword"),
        Credential("alice", identity_token="id\udcffentity"),
    ],
)
async def test_bytes_that_are_no_utf_8_are_sent_as_they_came(who: Credential) -> None:
    registry = TokenRegistry()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "POST":
            registry.good["t"] = "repository:team/app:pull"
            return web.json_response({"access_token": "t"})
        return await registry(request)

    async with scripted(answer) as server, asking(server, who) as client:
        assert await client.resolve(image(server)) is not None
    (asked,) = [seen for seen in server.requests if seen.path.startswith("/token")]
    basic = asked.headers.get("Authorization", "").removeprefix("Basic ")
    assert b"%FF" in asked.body or b"\xff" in base64.b64decode(basic)


async def test_challenges_without_end_are_read_as_far_as_a_registry_has_any() -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        headers = CIMultiDict(("WWW-Authenticate", "a," * 30_000) for _ in range(100))
        headers.add("WWW-Authenticate", "Basic")
        return web.Response(status=401, headers=headers)

    async with scripted(answer) as server, asking(server, ALICE) as client:
        with pytest.raises(PermissionDenied, match="does not say how to log in"):
            await client.resolve(image(server))


@pytest.mark.parametrize("status", [404, 405])
async def test_a_token_server_that_knows_no_form_is_asked_by_get(status: int) -> None:
    registry = TokenRegistry()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "POST":
            return web.Response(status=status)
        return await registry(request)

    who = Credential("u", identity_token="id")
    async with scripted(answer) as server, asking(server, who) as client:
        assert await client.resolve(image(server)) is not None
    (get,) = server.seen("GET", "/token")
    assert base64.b64decode(get.headers["Authorization"].removeprefix("Basic ")) == b"u:id"


@pytest.mark.parametrize("status", [400, 401])
async def test_an_identity_token_that_has_ended_is_told_as_one(status: int) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "POST":
            error = {"error": "invalid_grant", "error_description": "id-c4nary has ended"}
            return web.json_response(error, status=status)
        return TokenRegistry().manifest(request)

    who = Credential(identity_token="id-c4nary")
    async with scripted(answer) as server, asking(server, who) as client:
        with pytest.raises(AuthenticationFailed, match="refuses the identity token") as caught:
            await client.resolve(image(server))
    assert "invalid_grant: *** has ended" in caught.value.what


async def test_a_registry_token_is_sent_as_it_is() -> None:
    registry = TokenRegistry()
    registry.good["ready"] = "repository:team/app:pull"
    who = Credential(registry_token="ready")
    async with scripted(registry) as server, asking(server, who) as client:
        assert await client.resolve(image(server)) is not None
        with pytest.raises(AuthenticationFailed, match="refuses the registry token"):
            await client.resolve(image(server, "team/other"))
    assert server.seen("GET", "/token") == []


@pytest.mark.parametrize(
    "realm",
    [
        "http://auth.example/token",
        "http://127.0.0.1:1/token",
        "https://10.0.0.1/token",
        "https://169.254.169.254/token",
        "https://user:pw@auth.example/token",
        "ldap://auth.example/",
    ],
)
async def test_a_realm_that_is_not_safe_never_sees_us(realm: str) -> None:
    header = f'Bearer realm="{realm}",service="s"'
    async with scripted(challenging(header)) as server, asking(server, ALICE) as client:
        with pytest.raises(CopyError, match=r"sends us for a token to .*: refused") as caught:
            await client.resolve(image(server))
    assert not caught.value.transient
    assert asked(server) == ["HEAD /v2/team/app/manifests/1"]


async def test_a_token_server_that_redirects_is_not_followed() -> None:
    registry = TokenRegistry()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/token":
            return web.Response(status=307, headers={"Location": "/elsewhere"})
        return registry.manifest(request)

    async with scripted(answer) as server, asking(server, ALICE) as client:
        with pytest.raises(CopyError, match="redirects, which is not followed"):
            await client.resolve(image(server))
    assert "GET /elsewhere" not in asked(server)


async def test_a_token_server_without_end_or_token_is_given_up() -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/token":
            return await endless(request, "application/json")
        return TokenRegistry().manifest(request)

    async with scripted(answer) as server, asking(server) as client:
        with pytest.raises(RegistryUnavailable, match="gave no token that can be used"):
            await client.resolve(image(server))


async def test_a_token_servers_wish_to_wait_reaches_the_caller() -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/token":
            return web.Response(status=429, headers={"Retry-After": "11"})
        return TokenRegistry().manifest(request)

    async with scripted(answer) as server, asking(server) as client:
        with pytest.raises(RateLimited) as caught:
            await client.resolve(image(server))
    assert caught.value.retry_after == 11


@pytest.mark.parametrize("status", [401, 403, 500])
async def test_no_password_and_no_token_comes_back_from_either_server(status: int) -> None:
    registry = TokenRegistry()

    async def token(request: web.BaseRequest) -> web.StreamResponse:
        text = f"{request.headers.get('Authorization')} {ALICE.password} {await request.text()}"
        if request.path == "/token" and status != 500:
            return web.Response(status=status, text=text)
        if request.headers.get("Authorization") and request.path != "/token":
            return web.Response(status=status, text=text)
        return await registry(request)

    async with scripted(token) as server, asking(server, ALICE) as client:
        with pytest.raises(CopyError) as caught:
            await client.manifest(image(server))
    error = caught.value
    sent = [seen.headers.get("Authorization", "x none-at-all") for seen in server.requests]
    told = "".join([str(error), repr(error), repr(error.args), *traceback.format_exception(error)])
    for canary in (ALICE.password, *(header.split(" ")[1].rstrip("=") for header in sent)):
        assert canary not in told


async def test_a_token_of_before_does_not_come_back_from_its_server() -> None:
    registry, clock = TokenRegistry(), Clock()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/token" and registry.given:
            return web.Response(status=503, text=f"you had {list(registry.good)}")
        return await registry(request)

    async with scripted(answer) as server, asking(server, clock=clock) as client:
        await client.resolve(image(server))
        clock.now += 1000
        with pytest.raises(RegistryUnavailable, match=r"you had \['\*\*\*'\]"):
            await client.resolve(image(server))


async def test_once_a_password_was_taken_logins_no_longer_wait_for_each_other() -> None:
    registry, under_way, both = TokenRegistry(), 0, Event()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal under_way
        if request.path == "/token":
            under_way += 1
            if under_way == 3:
                both.set()
            elif under_way == 2:
                await both.wait()  # the third comes while the second is still under way
        return await registry(request)

    async with (
        scripted(answer) as server,
        asking(server, ALICE) as client,
        create_task_group() as group,
    ):
        with fail_after(10):
            for number in range(3):
                group.start_soon(client.resolve, image(server, f"team/app{number}"))
            await both.wait()
