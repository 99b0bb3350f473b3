"""Pull and push streams, record by record."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsync.transports.engine.records import LINE_BYTES_MAX, Lines, Progress, StreamError

DIGEST = "sha256:" + "a" * 64
LAYERS = 10_000  # that are remembered of one stream


def line(**record: object) -> bytes:
    return json.dumps(record).encode()


def test_a_push_is_done_when_its_closing_line_named_the_digest() -> None:
    progress = Progress()
    progress.read(line(status="Pushed", id="0123456789ab"))
    assert progress.pushed is None
    progress.read(line(progressDetail={}, aux={"Tag": "v1", "Digest": "sha256:" + "b" * 64}))
    assert progress.pushed is None, "an aux record is no sign of success"
    progress.read(line(status=f"latest: digest: {DIGEST} size: 527"))
    assert str(progress.pushed) == DIGEST


def test_a_pull_is_done_with_its_status_line_and_not_with_its_digest() -> None:
    progress = Progress()
    progress.read(line(status=f"Digest: {DIGEST}"))
    assert not progress.done
    progress.read(line(status="Status: Downloaded newer image for x:1"))
    assert progress.done


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"error": "denied: no"}, "denied: no"),
        ({"errorDetail": {"message": "denied: no"}, "error": "denied: no"}, "denied: no"),
        ({"errorDetail": {"message": "denied: no"}}, "denied: no"),
        ({"error": {"odd": 1}}, "the engine gave no reason"),
        ({"errorDetail": {"message": ""}}, "the engine gave no reason"),
    ],
)
def test_an_error_inside_the_stream_is_a_failure(record: dict[str, object], text: str) -> None:
    with pytest.raises(StreamError, match=text):
        Progress().read(json.dumps(record).encode())


def test_only_changed_records_count_as_movement() -> None:
    progress = Progress()

    def changed(**record: object) -> bool:
        return progress.read(line(**record))[0]

    for still in ("Pulling fs layer", "Waiting", "Preparing", "Unavailable"):
        assert not changed(status=still, id="a")
    assert changed(status="Downloading", id="a", progressDetail={"current": 1, "total": 9})
    assert not changed(status="Downloading", id="a", progressDetail={"current": 1, "total": 9})
    assert changed(status="Downloading", id="a", progressDetail={"current": 2, "total": 9})
    assert changed(status="Layer already exists", id="b")
    assert not changed(status="Layer already exists", id="b")


def told(*records: dict[str, object]) -> dict[str, int]:
    """The most that was told of each layer."""
    progress, most = Progress(), dict[str, int]()
    for record in records:
        _, layer, count = progress.read(line(**record))
        if layer:
            most[layer] = max(count, most.get(layer, 0))
    return most


def at(status: str, layer: str, **detail: object) -> dict[str, object]:
    return {"status": status, "id": layer, "progressDetail": detail}


def test_bytes_are_told_with_the_layer_that_they_belong_to() -> None:
    assert told(at("Downloading", "a", current=7, total=9)) == {"a": 7}


@pytest.mark.parametrize(
    "whole",
    [
        at("Verifying Checksum", "a"),
        at("Download complete", "a", hidecounts=True),
        at("Extracting", "a", current=3, total=9),
        at("Pull complete", "a"),
    ],
)
def test_a_layer_that_is_whole_counts_whole_though_few_steps_were_told(
    whole: dict[str, object],
) -> None:
    assert told(at("Downloading", "a", current=2, total=9), whole) == {"a": 9}


def test_seconds_of_extracting_are_no_bytes() -> None:
    seconds = at("Extracting", "a", current=50, total=60, units="s")
    assert told(at("Downloading", "a", current=2, total=9), seconds) == {"a": 9}


@pytest.mark.parametrize("current", [0, -1, 2**63, 10**400, True, 1.5, "7", None])
def test_what_is_no_number_of_bytes_counts_as_none(current: object) -> None:
    record = at("Downloading", "a", current=current, total=current)
    assert Progress().read(line(**record)) == (True, "a", 0)
    assert told(record, at("Pull complete", "a")) == {"a": 0}
    assert Progress().read(line(status="Downloading", id="a")) == (True, "a", 0)
    assert Progress().read(line(**at("Downloading", "a", current=1))) == (True, "a", 1)


def test_a_whole_layer_of_which_no_size_was_told_counts_nothing() -> None:
    assert told(at("Pull complete", "a")) == {"a": 0}
    assert told(at("Downloading", "a", total=-9), at("Pull complete", "a")) == {"a": 0}


def test_layers_wait_until_anything_else_is_said_of_them() -> None:
    progress = Progress()
    for layer in ("a", "b", "b"):
        progress.read(line(**at("Waiting", layer)))
    assert progress.queued == 2
    progress.read(line(**at("Preparing", "c")))
    progress.read(line(**at("Downloading", "a", current=1)))
    assert progress.queued == 1
    progress.read(line(**at("Layer already exists", "b")))
    assert progress.queued == 0


def test_an_engine_that_tells_of_layers_without_end_is_not_remembered_without_end() -> None:
    progress = Progress()
    for number in range(LAYERS):
        progress.read(line(**at("Waiting", str(number))))
    for late in ("late", "later"):
        progress.read(line(**at("Waiting", late)))
        assert progress.queued == LAYERS
    for layer, size in (("late", 0), ("0", 9)):
        progress.read(line(**at("Downloading", layer, current=2, total=9)))
        assert progress.read(line(**at("Pull complete", layer))) == (True, layer, size)


def test_a_layer_that_was_there_already_counts_nothing() -> None:
    assert told(at("Already exists", "a")) == {}


def test_that_the_engine_is_at_its_own_retries_is_known_until_they_helped() -> None:
    progress = Progress()
    progress.read(line(**at("Retrying in 5 seconds", "a")))
    progress.read(line(**at("Downloading", "b", current=1)))
    assert progress.retried
    progress.read(line(**at("Downloading", "a", current=1)))
    assert not progress.retried


@given(st.binary(max_size=200))
def test_any_line_is_read_or_is_a_stream_error(data: bytes) -> None:
    try:
        Progress().read(data)
    except StreamError as error:
        assert str(error)


def test_a_record_nested_without_end_is_a_stream_error() -> None:
    with pytest.raises(StreamError, match="a line that is no JSON"):
        Progress().read(b'{"status":' + b"[" * 100_000)


KEYS = ["status", "id", "progressDetail", "current", "error", "errorDetail", "message"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner),
        max_leaves=8,
    )
)
def test_any_json_is_read_or_is_a_stream_error(value: object) -> None:
    try:
        Progress().read(json.dumps(value).encode())
    except StreamError as error:
        assert str(error)


@given(st.lists(st.binary(max_size=20).filter(lambda b: b"\n" not in b and b.strip())), st.data())
def test_lines_come_whole_however_the_stream_is_cut(
    lines: list[bytes], data: st.DataObject
) -> None:
    stream = b"\n".join(lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    cutter, got = Lines(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += cutter.feed(stream[start:end])
    assert got + cutter.end() == lines


def test_empty_lines_between_records_are_no_records() -> None:
    lines = Lines()
    assert lines.feed(b'{"status":"x"}\r\n\r\n\n{"status":"y"}\n \n') == [
        b'{"status":"x"}\r',
        b'{"status":"y"}',
    ]
    assert lines.feed(b"\r") == []
    assert lines.end() == []


def test_a_line_without_end_is_not_kept_for_ever() -> None:
    lines = Lines()
    with pytest.raises(StreamError):
        for _ in range(LINE_BYTES_MAX // 65536 + 2):
            lines.feed(b"x" * 65536)
