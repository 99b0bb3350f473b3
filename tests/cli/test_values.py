"""What can be written after an option, and what is answered when it is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsync.cli import values


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("20m", 1200), ("5h30m", 19800), ("1h1m1s", 3661), ("90", 90), ("0.5", 0.5),
     ("1.5s", 1.5)],
)  # fmt: skip
def test_a_duration_is_hours_minutes_seconds_or_plain_seconds(text: str, seconds: float) -> None:
    assert values.duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "0", "0s", "-1", "1d", "30m5h", "5 m", "1e3", "inf", "nan", "٣s", "90s\n", "9" * 50],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|no time"):
        values.duration(text)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(1, 59))
def test_every_duration_is_the_sum_of_its_parts(hours: int, minutes: int, seconds: int) -> None:
    total = hours * 3600 + minutes * 60 + seconds
    assert values.duration(f"{hours}h{minutes}m{seconds}s") == total
    assert values.duration(str(total)) == total


@pytest.mark.parametrize("text", ["1", "true", "True", "YES", "on"])
def test_yes_has_four_words(text: str) -> None:
    assert values.yes_or_no(text) is True


@pytest.mark.parametrize("text", ["0", "false", "No", "OFF"])
def test_no_has_four_words(text: str) -> None:
    assert values.yes_or_no(text) is False


@pytest.mark.parametrize("text", ["2", "y", "truee", " true"])
def test_anything_else_is_neither_yes_nor_no(text: str) -> None:
    with pytest.raises(ValueError, match="write 1/true/yes/on or 0/false/no/off"):
        values.yes_or_no(text)


def test_concurrency_has_bounds() -> None:
    assert (values.concurrency("1"), values.concurrency("256")) == (1, 256)
    for text in ("0", "257", "-1", "many", "1.5", ""):
        with pytest.raises(ValueError, match="no whole number from 1 to 256"):
            values.concurrency(text)


def test_platforms_are_separated_by_commas() -> None:
    both = tuple(map(str, values.platforms("linux/amd64, linux/arm64/v8,")))
    assert both == ("linux/amd64", "linux/arm64/v8")
    with pytest.raises(ValueError, match="write os/arch"):
        values.platforms("linux")


def test_only_what_exists_can_be_chosen() -> None:
    assert (values.via("direct"), values.log_format("json")) == ("direct", "json")
    with pytest.raises(ValueError, match="none of auto, engine, direct"):
        values.via("telepathy")


@pytest.mark.parametrize(
    ("text", "bytes_a_second"),
    [("20MiB/s", 20 * 2**20), ("500KB/s", 500_000), ("500kB/s", 500_000), ("1GB", 10**9),
     ("1.5KiB", 1536), ("7B/s", 7), ("2GiB/s", 2**31)],
)  # fmt: skip
def test_a_rate_is_bytes_a_second_in_thousands_or_in_1024s(
    text: str, bytes_a_second: float
) -> None:
    assert values.rate(text) == bytes_a_second


@pytest.mark.parametrize(
    "text", ["20Mbit/s", "20Mb/s", "20 mbps", "20mb", "100kbits", "20Mib/s", "8b"]
)
def test_a_rate_in_bits_is_refused_as_one(text: str) -> None:
    with pytest.raises(ValueError, match="counts bits, and a rate counts bytes"):
        values.rate(text)


@pytest.mark.parametrize(
    "text",
    ["", "20", "20M", "0B/s", "-1MB/s", "fast", "1e3B", "20MB/h", "٣MB/s", "1MB/s\n", "infB"],
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no rate|no bytes at all"):
        values.rate(text)


def test_a_mirror_belongs_to_a_registry_under_any_of_its_names() -> None:
    there = "https://mirror.example/prefix"
    assert values.mirror(f"docker.io={there}/") == ("docker.io", there)
    assert values.mirror(f"index.docker.io={there}") == ("docker.io", there)
    for text in ("docker.io", there, f"={there}", "docker.io=", "docker.io=mirror.example"):
        with pytest.raises(ValueError, match=r"HOST=URL|no registry|a mirror is written"):
            values.mirror(text)
