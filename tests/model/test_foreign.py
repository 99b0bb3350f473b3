"""Foreign text is shown as one harmless line."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asyncsync.model.foreign import quoted, shown

hostile = st.lists(
    st.text(max_size=3) | st.sampled_from(["::", "##[", "#", ":", "[", " ", "\n", "\u200b", "\x1b"])
).map("".join)


@given(hostile, st.integers(min_value=1, max_value=500))
@example(":: ##[error]", 500)
@example("## ##[error]", 500)
@example("####[error]", 500)
@example("\u200b::error::x", 500)
@example("\ufeff :\u202e: ::error", 500)
@example("\ud800::", 500)
def test_what_is_shown_is_one_short_printable_line_and_no_command(text: str, limit: int) -> None:
    line = shown(text, limit=limit)
    assert len(line) <= limit
    assert line.isprintable()
    assert line == line.strip()
    assert not line.startswith("::")
    assert "##[" not in line
    assert "##[" not in quoted(text)
    assert quoted(text).isprintable()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain words, kept", "plain words, kept"),
        ("two\r\nlines\tand  blanks", "two lines and blanks"),
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("::error file=x::boo", "error file=x::boo"),
        ("a ::error in the middle", "a ::error in the middle"),
        ("x ##[error]boo", "x ## [error]boo"),
        ("# heading", "# heading"),
        ("a\u202eb\u200bc\xa0d", "a b c d"),
        ("Zürich 東京", "Zürich 東京"),
        ("x" * 501, "x" * 499 + "…"),
        ("", ""),
    ],
)
def test_harmless_text_stays_and_the_rest_becomes_harmless(text: str, line: str) -> None:
    assert shown(text) == line


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (" r.example", "' r.example'"),
        ("\ufeffr.example\u200b", r"'\ufeffr.example\u200b'"),
        ("two\nlines\x1b[0m\xa0", r"'two\nlines\x1b[0m\xa0'"),
        ("Zürich 東京", "'Zürich 東京'"),
        ("\n" * 99, "'" + r"\n" * 49 + "\\…'"),
    ],
)
def test_in_a_quotation_every_sign_is_seen(text: str, seen: str) -> None:
    assert quoted(text) == seen


secrets = st.text(st.sampled_from("abcXYZ019"), min_size=4, max_size=30)


@given(st.text(max_size=20), secrets, st.text(max_size=20), st.integers(0, 30_000))
@example("", "secret0", "", 19_997)
@example("x", "secret0", "", 495)
def test_no_part_of_a_secret_is_shown(before: str, secret: str, after: str, blanks: int) -> None:
    line = shown(f"{before}{' ' * blanks}<{secret}>{after}", secrets=[secret])
    assert secret not in line
    assert f"<{secret[:3]}" not in line


def test_a_secret_within_a_longer_one_leaves_nothing_of_it() -> None:
    assert shown("token=abcdefgh", secrets=["abcd", "abcdefgh"]) == "token=***"


@pytest.mark.parametrize(
    "echo",
    [
        "p%26q%3c1%3E%27%2bx",
        "p%26q<1>'+x",
        "p&#38;q&#60;1&#62;&#39;&#43;x",
        "p&amp;q&lt;1&gt;&#x27;+x",
        r"p\u0026q\u003c1\u003e'+x",
        r"p&q<1>\'+x",
    ],
)
def test_a_secret_in_another_form_leaves_nothing_of_the_text(echo: str) -> None:
    assert shown(f"you sent {echo}, did you?", secrets=["p&q<1>'+x"]) == "***"
    assert shown(f"you sent {echo}, did you?", secrets=["other"]) != "***"


def test_a_secret_as_short_as_a_word_does_not_blank_out_the_message() -> None:
    assert shown("an apple", secrets=["a", "", "an "]) == "an apple"
