"""Numbers are written as a person reads them."""

from __future__ import annotations

import pytest

from asyncsync.reporting.units import count, duration, rate, size


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (71_300_000, "71.3 MB"),
        (99_940_000, "99.9 MB"),
        (99_960_000, "100 MB"),
        (412_000_000, "412 MB"),
        (999_600_000, "1.0 GB"),
        (3_900_000_000, "3.9 GB"),
        (5 * 10**18, "5000 PB"),
    ],
)
def test_a_size_has_a_decimal_unit(number: int, text: str) -> None:
    assert size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (1.7, "1.7 s"),
        (6.23, "6.2 s"),
        (9.96, "10 s"),
        (34.2, "34 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (251, "4 min 11 s"),
        (302, "5 min 2 s"),
        (3599.7, "1 h"),
        (3720, "1 h 2 min"),
        (100_000, "27 h 47 min"),
    ],
)
def test_a_time_has_at_most_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_one_is_singular() -> None:
    assert (count(1, "image"), count(2, "image"), count(0, "image")) == (
        "1 image",
        "2 images",
        "0 images",
    )


@pytest.mark.parametrize(
    ("bytes_a_second", "text"),
    [
        (20 * 2**20, "20 MiB/s"),
        (1.5 * 2**20, "1.5 MiB/s"),
        (64 * 2**10, "64 KiB/s"),
        (3 * 2**30, "3 GiB/s"),
        (500_000, "500 kB/s"),
        (512_000, "512 kB/s"),
        (1_500_000, "1.5 MB/s"),
        (777, "777 B/s"),
        (0.4, "0 B/s"),
        (1_234_567, "1.2 MB/s"),
    ],
)
def test_a_rate_is_told_in_the_unit_in_which_it_was_given(bytes_a_second: float, text: str) -> None:
    assert rate(bytes_a_second) == text
