from __future__ import annotations

from collections.abc import Mapping

import pytest
from aiohttp import web
from anyio import Event, create_task_group, fail_after
from scripted import Scripted, manifest_answer, scripted

from asyncsync.credentials import Credentials
from asyncsync.model.access import Access
from asyncsync.model.errors import CopyError, RegistryUnavailable
from asyncsync.model.reference import Reference
from asyncsync.stores.registry.client import RegistryClient


def by(proxy: Scripted) -> dict[str, str]:
    return {"http": f"http://u:c4nary@{proxy.host}", "https": f"http://u:c4nary@{proxy.host}"}


async def told(client: RegistryClient, host: str) -> CopyError | None:
    """What became of asking a host for a manifest."""
    try:
        await client.resolve(Reference.parse(f"{host}/team/app:1"))
    except CopyError as error:
        return error
    return None


async def told_at_once(proxies: Mapping[str, str], *hosts: str, idle: float = 5) -> list[str]:
    """The same of several that are asked at once, in words."""
    words: list[str] = []

    async def ask(host: str) -> None:
        error = await told(client, host)
        words.append(error.what if error else "found")

    async with (
        RegistryClient(
            Access(proxies=proxies, plain_http={h for h in hosts if "plain" in h}),
            Credentials(environ={}),
            idle_seconds=idle,
        ) as client,
        create_task_group() as group,
    ):
        for host in hosts:
            group.start_soon(ask, host)
    return words


@pytest.mark.parametrize("kind", ["plain", "secure"])
async def test_a_login_that_a_proxy_refuses_is_sent_once_whoever_is_asked_through_it(
    kind: str,
) -> None:
    """Companies lock accounts after a few wrong passwords."""

    async def refuse(request: web.BaseRequest) -> web.Response:
        return web.Response(status=407, headers={"Proxy-Authenticate": "Basic"})

    hosts = [f"{kind}{number}.example" for number in range(20)]
    async with scripted(refuse) as proxy:
        words = await told_at_once(by(proxy), *hosts)
    assert len(proxy.requests) == 1
    refused = "refuses the login in its URL (407 Proxy Authentication Required)"
    assert sorted(words) == sorted(f"the proxy before {host} {refused}" for host in hosts)


async def test_a_proxy_that_has_let_us_through_may_refuse_now_and_then() -> None:
    statuses = iter([200, 407, 200])

    async def answer(request: web.BaseRequest) -> web.Response:
        return manifest_answer() if next(statuses) == 200 else web.Response(status=407)

    async with scripted(answer) as proxy:
        access = Access(proxies=by(proxy), plain_http={"plain.example"})
        async with RegistryClient(access, Credentials(environ={})) as client:
            assert await told(client, "plain.example") is None
            assert isinstance(await told(client, "plain.example"), RegistryUnavailable)
            assert await told(client, "plain.example") is None


async def test_a_proxy_that_has_let_us_through_is_asked_by_many_at_once() -> None:
    together = Event()

    async def answer(request: web.BaseRequest) -> web.Response:
        if len(proxy.requests) == 4:  # the first, and then three of which none is answered alone
            together.set()
        if len(proxy.requests) > 1:
            await together.wait()
        return manifest_answer()

    async with scripted(answer) as proxy:
        access = Access(proxies=by(proxy), plain_http={"plain.example"})
        async with RegistryClient(access, Credentials(environ={})) as client:
            assert await told(client, "plain.example") is None
            with fail_after(10):
                async with create_task_group() as group:
                    for _ in range(3):
                        group.start_soon(told, client, "plain.example")


async def test_a_request_that_a_proxy_lets_hang_holds_up_no_other_for_long() -> None:
    second = Event()

    async def hang(request: web.BaseRequest) -> web.Response:
        if len(proxy.requests) > 1:
            second.set()
        await second.wait()
        return web.Response(status=502)

    async with scripted(hang) as proxy:
        with fail_after(30):
            words = await told_at_once(by(proxy), "a.example", "b.example", idle=3)
    assert len(proxy.requests) == 2
    assert all(text.endswith("answered 502 Bad Gateway") for text in words)
