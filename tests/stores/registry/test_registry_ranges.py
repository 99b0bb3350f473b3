"""Which bytes are asked for, which come, and how many an upload has."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from anyio import run
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from asyncsync.model.digest import Digest
from asyncsync.model.errors import RegistryUnavailable
from asyncsync.model.reference import Reference
from asyncsync.stores.registry.answers import Answer
from asyncsync.stores.registry.ranges import (
    between,
    byte_range,
    chunk_length,
    chunk_range,
    offset_of,
    skipped,
)

REF = Reference.parse("r.example/team/app:1").by_digest(Digest.of(b"blob"))
SIZES = st.integers(0, 10**15)


def answered(status: int, content_range: str | None = None) -> Answer:
    headers = {"Content-Range": content_range} if content_range is not None else {}
    url = URL("https://r.example/v2/team/app/blobs/x")
    return Answer(status, url, CIMultiDictProxy(CIMultiDict(headers)))


async def cut(chunks: list[bytes], skip: int, length: int | None) -> list[bytes]:
    async def coming() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return [chunk async for chunk in between(coming(), skip, length)]


@pytest.mark.parametrize(
    ("start", "stop", "header"),
    [
        (0, None, {}),
        (7, None, {"Range": "bytes=7-"}),
        (0, 1, {"Range": "bytes=0-0"}),
        (7, 10, {"Range": "bytes=7-9"}),
    ],
)
def test_a_range_is_asked_for_with_its_last_byte_and_the_whole_without_one(
    start: int, stop: int | None, header: dict[str, str]
) -> None:
    assert byte_range(start, stop) == header


@given(SIZES, st.integers(1, 10**12))
def test_a_chunk_is_told_by_its_first_and_last_byte_without_unit_or_total(
    start: int, length: int
) -> None:
    text = chunk_range(start, start + length)
    assert re.fullmatch("[0-9]+-[0-9]+", text)  # the pattern of the specification
    first, last = map(int, text.split("-"))
    assert (first, last - first + 1) == (start, length)


@pytest.mark.parametrize(
    ("status", "content_range", "start", "skip"),
    [
        (206, "bytes 7-9/10", 7, 0),
        (206, "bytes 7-9/*", 7, 0),
        (206, "bytes 4-9/10", 7, 3),
        (206, "bytes 0-9/10", 0, 0),
        (206, "bytes 7-7/10", 7, 0),
        (200, None, 7, 7),
        (200, None, 0, 0),
        (200, "bytes 7-9/10", 7, 7),  # a 200 is the whole, whatever else it says
    ],
)
def test_of_an_answer_what_comes_before_the_start_is_dropped(
    status: int, content_range: str | None, start: int, skip: int
) -> None:
    assert skipped(answered(status, content_range), REF, start) == skip


@pytest.mark.parametrize(
    "content_range",
    [
        None,
        "",
        "bytes 8-9/10",  # begins behind the start
        "bytes 0-6/10",  # ends before it
        "bytes */10",
        "bytes 7-9",
        "bytes=7-9/10",
        "7-9/10",
        "items 7-9/10",
        "bytes -7-9/10",
        "bytes 7-9/10, bytes 0-1/10",
        "bytes \u0667-9/10",
        "bytes 7-" + "9" * 30 + "/10",
        "bytes 7-9/10\n",
    ],
)
def test_a_part_that_was_not_asked_for_is_refused_and_may_be_asked_again(
    content_range: str | None,
) -> None:
    with pytest.raises(RegistryUnavailable, match="sent another part of sha256:") as caught:
        skipped(answered(206, content_range), REF, 7)
    assert caught.value.transient


@given(st.lists(st.binary(max_size=5), max_size=8), st.integers(0, 50), st.integers(0, 50))
@example([b"0", b"1"], 0, 2)
def test_of_chunks_exactly_the_bytes_between_come_through(
    chunks: list[bytes], start: int, length: int
) -> None:
    whole = b"".join(chunks)
    cut_off = run(cut, chunks, start, length)
    assert b"".join(cut_off) == whole[start : start + length]
    assert b"".join(run(cut, chunks, start, None)) == whole[start:]
    assert all(cut_off) or not length
    assert all(run(cut, chunks, start, None))  # no empty ones: they end a chunked body


async def test_nothing_is_waited_for_behind_the_end() -> None:
    async def coming() -> AsyncIterator[bytes]:
        yield b"0123"
        yield b"4567"
        raise AssertionError("it sends on")

    assert b"".join([chunk async for chunk in between(coming(), 2, 6)]) == b"234567"


@pytest.mark.parametrize(
    ("header", "has"),
    [
        ("0-99", 100),
        ("bytes=0-99", 100),
        ("0-1", 2),
        ("0-0", 0),  # what a fresh upload says, too
        (None, None),
        ("", None),
        ("5-9", None),
        ("0-", None),
        ("-1", None),
        ("0--1", None),
        ("0-99/100", None),
        ("0-99,200-299", None),
        ("0-" + "9" * 30, None),
        ("0-99\n", None),
    ],
)
def test_an_upload_has_what_its_range_tells_and_one_byte_counts_as_none(
    header: str | None, has: int | None
) -> None:
    assert offset_of({"Range": header} if header is not None else {}) == has


@given(st.integers(2, 10**15))
def test_what_was_sent_in_one_chunk_is_read_back_from_its_range(size: int) -> None:
    assert offset_of({"Range": chunk_range(0, size)}) == size


@pytest.mark.parametrize(
    ("header", "length"),
    [(None, 8), ("", 8), ("5", 8), ("8", 8), ("9", 9), ("-9", 8), ("9.5", 8), ("9" * 30, 8)],
)
def test_chunks_are_as_long_as_the_registry_wants_where_that_is_more(
    header: str | None, length: int
) -> None:
    headers = {"OCI-Chunk-Min-Length": header} if header is not None else {}
    assert chunk_length(headers, 8) == length
