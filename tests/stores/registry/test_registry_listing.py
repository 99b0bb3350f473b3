"""Lists that come page by page: where the next page is, and where a list ends that has no end."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from parts.clock import Clock
from scripted import Scripted, digest_of, reply, scripted

from asyncsync.credentials import Credentials
from asyncsync.model.access import Access
from asyncsync.model.digest import Digest
from asyncsync.model.errors import RegistryUnavailable, TimedOut
from asyncsync.model.manifest import OCI_INDEX, OCI_MANIFEST
from asyncsync.model.place import Registry
from asyncsync.model.reference import Reference
from asyncsync.stores.registry.client import RegistryClient
from asyncsync.stores.registry.listing import (
    PAGES_MAX,
    REFERRERS_MAX,
    SECONDS_MAX,
    next_page,
)

SUBJECT = Digest.of(b"an image")


@pytest.mark.parametrize(
    ("header", "page"),
    [
        ('</v2/a/tags/list?n=2&last=b>; rel="next"', "/v2/a/tags/list?n=2&last=b"),
        ("<?last=b>;rel=next", "?last=b"),
        ("<x> ; REL = Next", "x"),
        ('<x>; rel="prev next"', "x"),
        ('<a>; rel="prev", <b,;>; title="x, y"; rel="next"', "b,;"),
        ('<x>; title="a <b>"; rel=next', "x"),
        ("<>; rel=next", ""),
        ('<x>; rel="nextone"', None),
        ("<x>", None),
        ("x; rel=next", None),
        ("<x; rel=next", None),
        ("", None),
    ],
)
def test_the_next_page_is_what_the_link_says(header: str, page: str | None) -> None:
    assert next_page([header]) == page


def test_of_several_headers_the_one_for_the_next_page_counts() -> None:
    assert next_page(["<a>; rel=first", "<b>; rel=next", "<c>; rel=next"]) == "b"
    assert next_page([]) is None


@given(st.text(alphabet='<>;,="\\ relnxt', max_size=60))
def test_no_header_is_too_odd_to_be_read(header: str) -> None:
    page = next_page([header])
    assert page is None or f"<{page}>" in header


def test_a_header_of_the_largest_size_takes_no_time_to_speak_of() -> None:
    for text in ("<", "<>;", '<>; a="', "<x>; rel=" + " ", "<>;a=;"):
        assert next_page([text * (65536 // len(text))]) is None


@asynccontextmanager
async def client_of(
    server: Scripted, *mirrors: Scripted, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[RegistryClient]:
    access = Access(
        plain_http=frozenset({server.host, *(mirror.host for mirror in mirrors)}),
        mirrors={server.host: tuple(f"http://{mirror.host}" for mirror in mirrors)},
    )
    credentials = Credentials({}, environ={})
    async with RegistryClient(access, credentials, idle_seconds=5, clock=clock) as client:
        yield client


def subject(server: Scripted) -> Reference:
    return Reference(Registry(server.host), "team/app", None, SUBJECT)


def many(body: Callable[[int], object]) -> AbstractAsyncContextManager[Scripted]:
    """A server of pages without end, each with another address."""
    pages = iter(range(10**9))

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        number = next(pages)
        text = json.dumps(body(number))
        return reply(200, text, Content_Type=OCI_INDEX, Link=f"<?page={number}>; rel=next").answer(
            ""
        )

    return scripted(answer)


async def test_a_list_without_an_end_is_given_up() -> None:
    async with many(lambda number: {"manifests": []}) as server, client_of(server) as client:
        with pytest.raises(RegistryUnavailable, match=f"more than {PAGES_MAX} pages"):
            await client.referrers(subject(server))
    assert len(server.requests) == PAGES_MAX


async def test_pages_that_are_large_together_are_given_up() -> None:
    page = {"manifests": [], "more": "x" * 3 * 2**20}
    async with many(lambda number: page) as server, client_of(server) as client:
        with pytest.raises(RegistryUnavailable, match="more bytes than a list has"):
            await client.referrers(subject(server))
    assert len(server.requests) < 10


async def test_pages_that_take_long_together_are_given_up() -> None:
    clock = Clock()

    def page(number: int) -> object:
        clock.advance(SECONDS_MAX / 10)
        return {"manifests": []}

    async with many(page) as server, client_of(server, clock=clock) as client:
        with pytest.raises(TimedOut, match="pages for more than 30 minutes"):
            await client.referrers(subject(server))
    assert len(server.requests) == 11


async def test_more_referrers_than_an_image_can_have_are_given_up() -> None:
    def page(number: int) -> object:
        named = [digest_of(f"{number} {n}".encode()) for n in range(600)]
        entries = [{"mediaType": OCI_MANIFEST, "digest": digest, "size": 1} for digest in named]
        return {"schemaVersion": 2, "manifests": entries}

    async with many(page) as server, client_of(server) as client:
        with pytest.raises(RegistryUnavailable, match=f"more than {REFERRERS_MAX} referrers"):
            await client.referrers(subject(server))
    assert len(server.requests) == 2


async def test_a_mirror_is_not_asked_for_lists_as_it_would_hide_what_it_has_not() -> None:
    async def empty(request: web.BaseRequest) -> web.StreamResponse:
        return reply(200, '{"manifests": []}', Content_Type=OCI_INDEX).answer("")

    async def full(request: web.BaseRequest) -> web.StreamResponse:
        entry = {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(b"s")), "size": 1}
        return reply(200, json.dumps({"manifests": [entry]}), Content_Type=OCI_INDEX).answer("")

    async with scripted(empty) as mirror, scripted(full) as origin:
        async with client_of(origin, mirror) as client:
            found = await client.referrers(subject(origin))
            assert [each.digest for each in found] == [Digest.of(b"s")]
        assert mirror.requests == []


async def test_a_registry_without_the_end_point_is_asked_for_it_once() -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=404)

    async with scripted(answer) as server, client_of(server) as client:
        for text in ("a", "b", "c"):
            ref = Reference(Registry(server.host), "team/app", None, Digest.of(text.encode()))
            assert await client.referrers(ref) == ()
        assert len(server.seen("GET", "/v2/team/app/referrers/")) == 1
        assert len(server.seen("HEAD", "/v2/team/app/manifests/sha256-")) == 3
        long = Reference(Registry(server.host), "team/app", None, Digest.of(b"a", "sha512"))
        assert await client.referrers(long) == ()
        tag = f"sha512-{Digest.of(b'a', 'sha512').hex[:64]}"
        assert len(server.seen("GET", "/v2/team/app/referrers/")) == 2
        assert [seen.path for seen in server.seen("HEAD")][-1] == f"/v2/team/app/manifests/{tag}"
