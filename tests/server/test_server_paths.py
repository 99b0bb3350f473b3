"""What is asked for, read from what a client wrote: places, ranges. Pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsync.model.digest import Digest
from asyncsync.server import paths
from asyncsync.server.errors import Refused
from asyncsync.server.ranges import asked, chunk, received

DIGEST = Digest.of(b"")
ID = "0123456789abcdef" * 2
repositories = st.lists(
    st.from_regex(r"[a-z0-9]{1,5}((\.|_|__|-)[a-z0-9]{1,3})?", fullmatch=True)
    | st.sampled_from(["blobs", "manifests", "tags", "list", "uploads", "referrers", "v2"]),
    min_size=1,
    max_size=5,
).map("/".join)


@given(repositories)
def test_a_repository_may_have_any_name_that_the_grammar_allows(name: str) -> None:
    at = f"/v2/{name}"
    assert paths.place(f"{at}/tags/list") == paths.Tags(name)
    assert paths.place(f"{at}/manifests/1.0") == paths.Manifest(name, "1.0")
    assert paths.place(f"{at}/manifests/{DIGEST}") == paths.Manifest(name, DIGEST)
    assert paths.place(f"{at}/blobs/{DIGEST}") == paths.Blob(name, DIGEST)
    assert paths.place(f"{at}/blobs/uploads/") == paths.Uploads(name)
    assert paths.place(f"{at}/blobs/uploads/{ID}") == paths.Upload(name, ID)
    assert paths.place(f"{at}/referrers/{DIGEST}") == paths.Referrers(name, DIGEST)


@given(st.text() | st.from_regex(r"/v2/[a-z./%A-Z:0-9\x00-\x20]{0,40}/(blobs|manifests)/.{0,80}"))
def test_whatever_is_asked_for_is_a_place_by_the_grammar_or_refused(path: str) -> None:
    try:
        found = paths.place(path)
    except Refused as refused:
        assert refused.status in (400, 404)
        assert b"\n" not in refused.document
        return
    for text in (getattr(found, "repository", ""), str(getattr(found, "reference", ""))):
        assert ".." not in text
        assert not text.startswith(("/", "."))
        assert text.isascii()
        assert text.isprintable()


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 60))
def test_a_range_has_the_bytes_that_are_there(size: int, first: int, last: int) -> None:
    data = bytes(range(size))
    for header, part in (
        (f"bytes={first}-{last}", data[first : last + 1]),
        (f"bytes={first}-", data[first:]),
        (f"bytes=-{last}", data[max(0, size - last) :] if last else b""),
    ):
        try:
            found = asked(header, size)
        except Refused as refused:
            assert (refused.status, refused.headers["Content-Range"]) == (416, f"bytes */{size}")
            assert part == b""
            continue
        if found is None:
            assert last < first
            assert header.endswith(f"-{last}")
        else:
            assert data[found.start : found.stop] == part


@pytest.mark.parametrize(
    "header",
    [None, "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=1-2,4-5",
     "bytes=--1", "bytes=1" + "0" * 30 + "-", "bytes=\u0661-"],
)  # fmt: skip
def test_a_range_that_cannot_be_read_is_none(header: str | None) -> None:
    assert asked(header, 10) is None


@pytest.mark.parametrize("header", ["", "bytes 0-4", "0-4/10", "4-0", "0", "-4", "0-", "a-b"])
def test_a_chunk_that_says_no_range_is_refused(header: str) -> None:
    with pytest.raises(Refused):
        chunk(header, None)


def test_a_chunk_is_as_long_as_it_says() -> None:
    assert chunk("0-4", 5) == range(5)
    assert chunk("5-9", None) == range(5, 10)
    assert chunk(None, 5) is None
    with pytest.raises(Refused):
        chunk("0-4", 6)
    assert (received(0), received(1), received(10)) == ("0-0", "0-0", "0-9")
