"""Platforms: how they are written, and which image serves which wish."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsync.model.platform import Platform

words = st.from_regex(r"[a-z0-9_]{1,32}", fullmatch=True)
platforms = st.builds(Platform, words, words, st.none() | words)


@given(platforms)
def test_a_platform_is_read_back_from_its_own_text(platform: Platform) -> None:
    assert Platform.parse(str(platform)) == platform


@pytest.mark.parametrize(
    "text", ["", "linux", "linux/", "/amd64", "linux/amd64/", "linux/a/b/c", "Linux/x", "linux/x\n"]
)
def test_what_is_no_platform_is_refused_and_a_right_one_shown(text: str) -> None:
    with pytest.raises(ValueError, match="write os/arch"):
        Platform.parse(text)


@pytest.mark.parametrize(
    ("wanted", "offered", "rank"),
    [
        ("linux/amd64", "linux/amd64", 0),
        ("linux/amd64", "linux/arm64", None),
        ("linux/amd64", "windows/amd64", None),
        ("linux/arm64", "linux/arm64/v8", 0),
        ("linux/arm64/v8", "linux/arm64", 0),
        ("linux/arm", "linux/arm/v7", 0),
        ("linux/arm/v7", "linux/arm", 0),
        ("linux/arm/v7", "linux/arm/v6", 1),
        ("linux/arm/v7", "linux/arm/v5", 2),
        ("linux/arm/v6", "linux/arm/v7", None),
        ("linux/arm/v8", "linux/arm/v7", 1),
        ("linux/amd64", "linux/amd64/v3", None),
        ("linux/amd64/v3", "linux/amd64", 1),
        ("linux/amd64/v3", "linux/amd64/v2", None),
    ],
)
def test_an_image_serves_a_wish_as_well_as_the_hardware_allows(
    wanted: str, offered: str, rank: int | None
) -> None:
    assert Platform.parse(wanted).rank(Platform.parse(offered)) == rank


@given(platforms)
def test_nothing_serves_a_wish_better_than_what_was_wished(platform: Platform) -> None:
    assert platform.rank(platform) == 0


@pytest.mark.parametrize(
    ("wanted", "given", "admitted"),
    [
        ("linux/arm/v6", "linux/arm", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/amd64", "linux/amd64/v1", True),
        ("linux/amd64", "linux/amd64/v3", False),
        ("linux/arm64", "linux/amd64", False),
    ],
)
def test_an_image_that_names_no_variant_may_be_any(wanted: str, given: str, admitted: bool) -> None:
    assert Platform.parse(wanted).admits(Platform.parse(given)) is admitted
