"""The summary page: verdict, failures, a table; whole, within its limit, and only our markup."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options
from hypothesis import example, given
from hypothesis import strategies as st

from asyncsync.model.digest import Digest
from asyncsync.model.errors import (
    AuthenticationFailed,
    CopyError,
    NotFound,
    PermissionDenied,
    RateLimited,
    RegistryUnavailable,
    Where,
)
from asyncsync.model.foreign import shown
from asyncsync.model.job import CopyJob, Step
from asyncsync.model.outcome import Outcome, Report, Status
from asyncsync.model.reference import Reference
from asyncsync.model.spec import Mistake, Position
from asyncsync.reporting import markdown

Fail = Callable[..., Outcome]
DIGESTS = [Digest.of(name).hex[:12] for name in (b"nginx:1.27", b"redis:7")]
BLOB = "https://github.com/o/r/blob/0a1b"
# Raw HTML is let through: that none of it is foreign is for us to see to, not for a cleaner.
AS_GITHUB = (
    Options.CMARK_OPT_UNSAFE | Options.CMARK_OPT_GITHUB_PRE_LANG | Options.CMARK_OPT_FOOTNOTES
)
# What GitHub looks for in the text itself, once it is HTML.
SEEN_LATER = re.compile(r"@\w|#\w|:[\w+-]+:|://|www\.\w|\$.*\$", re.IGNORECASE)
texts = st.text() | st.lists(
    st.sampled_from([
        "a", "1", ".", ")", "-", "- ", "+ ", "* ", "# ", "#12", "> ", "```", "`", "~~", "|", "\\",
        "[", "]", "(", "![", "](http://x.y)", "<b>", "</details>", "<", ">", "&", "&amp;", "&#64;",
        "@user", "a@b.c", "www.", "x.y", "http://", "mailto:", "xmpp:", ":", ":tada:", "$", "_",
        "__", "**", "^", "[^1]", "[x]: ", "[ ] ", "\n", "\r", "\t", "===", "---", "|---|", " ",
        "<!--", "-->", "<?", "]]>", "<script>", "\x00", "\u200b", "\ud800", "é", "##[error]",
    ]),
    max_size=9,
).map("".join)  # fmt: skip


class Rendered(HTMLParser):
    """What a page looks like: its elements, and its text in the pieces that GitHub looks at."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.open: list[str] = []
        self.links: list[str | None] = []
        self.pieces: list[str] = []
        self.feed(cmarkgfm.github_flavored_markdown_to_html(page, options=AS_GITHUB))
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append(tag)
        if tag != "br":
            self.open.append(tag)
        if tag == "a":
            self.links.append(dict(attrs)["href"])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.pieces).split())


def linked(at: Position) -> str:
    return f"{BLOB}/{at.file}#L{at.line}"


def report(*outcomes: Outcome, seconds: float = 302) -> Report:
    return Report("engine", seconds, outcomes)


def test_the_page_is_verdict_then_failures_with_advice_then_all_images(
    ended: Callable[..., Outcome], failed: Fail
) -> None:
    assert markdown.summary(
        report(
            ended("nginx:1.27", Status.COPIED, 1, bytes_moved=71_300_000, seconds=6.2),
            ended("redis:7", Status.UNCHANGED, 2),
            failed("redis:7.99", NotFound, "library/redis has no tag 7.99", 7),
            replace(ended("debian:12", Status.NOT_STARTED, 9), notes=("the deadline came first",)),
        ),
        destination="r.example/team",
        link=linked,
    ) == (
        "## 1 copied, 1 unchanged, **1 failed**, 1 not started\n\n"
        "71.3 MB in 5 min 2 s to r.example/team, via engine.\n\n"
        f"- **redis:7.99** ([images.yaml:7]({BLOB}/images.yaml#L7)): "
        "library/redis has no tag 7.99 (resolve at docker.io).<br>\n"
        "  Correct the name or the tag in the list, or comment the line out with #.\n"
        "- 1 image not started: the deadline came first.<br>\n"
        "  Run it again: what is in place is skipped.\n\n"
        "*Re-run failed jobs* goes on from here: what is in place is skipped.\n\n"
        "<details><summary>4 of 4 images</summary>\n\n"
        "| Status | Image | Target | Digest | Size | Time | Note |\n"
        "| --- | --- | --- | --- | ---: | ---: | --- |\n"
        f"| copied | nginx:1.27 | r.example/team/nginx:1.27 | {DIGESTS[0]} | 71.3 MB | 6.2 s |  |\n"
        f"| unchanged | redis:7 | r.example/team/redis:7 | {DIGESTS[1]} |  |  |  |\n"
        "| **failed** | redis:7.99 | r.example/team/redis:7.99 |  |  | 1.5 s "
        "| library/redis has no tag 7.99 |\n"
        "| not started | debian:12 | r.example/team/debian:12 |  |  |  "
        "| the deadline came first |\n\n"
        "</details>\n"
    )


def test_what_the_direct_way_did_not_move_is_told_beside_what_it_did(
    ended: Callable[..., Outcome],
) -> None:
    copied = ended("nginx:1.27", Status.COPIED, 1, bytes_moved=71_300_000, seconds=6.2)
    lines = markdown.summary(
        report(
            replace(copied, platforms=5, bytes_there=96_000_000, notes=("adapted: it refuses",)),
            replace(copied, bytes_moved=0, bytes_shared=71_300_000),
        )
    ).splitlines()
    assert lines[2] == (
        "71.3 MB moved, 96.0 MB were there, 71.3 MB shared between images and not moved again, "
        "in 5 min 2 s, via engine."
    )
    first, second = (line for line in lines if line.startswith("| copied"))
    size = "5 platforms: 71.3 MB moved, 96.0 MB were there"
    assert first.endswith(f"| {DIGESTS[0]} | {size} | 6.2 s | adapted: it refuses |")
    assert second.endswith(f"| {DIGESTS[0]} | 71.3 MB shared | 6.2 s |  |")


def test_the_share_of_a_limit_is_told_on_the_page_too(ended: Callable[..., Outcome]) -> None:
    copied = ended("nginx:1.27", Status.COPIED, 1, bytes_moved=151_000_000)
    page = markdown.summary(report(copied), destination="r.example/team", limit_rate=1_000_000)
    told = "151 MB in 5 min 2 s to r.example/team, via engine: 50 % of what 1.0 MB/s allow."
    assert told in page.splitlines()


@pytest.mark.parametrize(("idle", "rows"), [(10, 11), (11, 2), (2000, 2)])
def test_many_images_that_were_not_started_share_a_row(
    ended: Callable[..., Outcome], idle: int, rows: int
) -> None:
    waiting = [ended(f"a:{n}", Status.NOT_STARTED, n) for n in range(1, idle + 1)]
    whole = report(*waiting[:3], ended("nginx:1.27", Status.COPIED), *waiting[3:])
    text = markdown.summary(whole)
    page = Rendered(text)
    assert page.elements.count("tr") == rows + 1
    assert f"{idle + 1} of {idle + 1} images" in page.text
    shared = f"| not started | {idle} images |  |  |  |  | --report FILE writes them all |"
    assert (text.splitlines()[-3] == shared) == (idle > 10)
    assert "Left out" not in text
    for limit in range(100, 1000, 50):
        assert len(markdown.summary(whole, limit_bytes=limit)) <= limit


def test_many_failures_with_one_cause_are_one_entry_with_links(failed: Fail) -> None:
    outcomes = [failed("ghcr.io/a/b:1", AuthenticationFailed, "refused", n) for n in range(1, 61)]
    page = Rendered(markdown.summary(report(*outcomes), link=linked, failed_list="failed.yaml"))
    advice = AuthenticationFailed("", Where("ghcr.io", "ghcr.io/a")).advice()
    lines = ", ".join(str(n) for n in range(2, 51))
    assert (
        f"60 images: refused (resolve at ghcr.io). {advice} "
        f"images.yaml:1, {lines} and 10 more (all in failed.yaml) Here "
    ) in page.text
    assert page.links == [f"{BLOB}/images.yaml#L{n}" for n in range(1, 51)]


@pytest.mark.parametrize("kind", [AuthenticationFailed, PermissionDenied, RateLimited])
def test_where_a_login_helps_the_page_says_how_github_has_one(
    failed: Fail, kind: type[CopyError]
) -> None:
    outcomes = [failed("a:1", NotFound, "no", 1), failed("ghcr.io/a/b:1", kind, "no", 2)]
    assert (
        "Here a step with docker/login-action before this one logs in; REGISTRY_USER and "
        "REGISTRY_PASSWORD are under Settings → Secrets and variables → Actions. Re-run failed "
        "jobs goes on from here: what is in place is skipped."
    ) in Rendered(markdown.summary(report(*outcomes))).text
    assert "login-action" not in markdown.summary(report(outcomes[0]))


def test_different_words_of_one_cause_share_their_advice(failed: Fail) -> None:
    outcomes = [failed(f"a:{n}", NotFound, f"there is no {n}", n) for n in range(1, 53)]
    page = Rendered(markdown.summary(report(*outcomes)))
    assert "52 images: Correct the name" in page.text
    assert page.text.count("Correct the name") == 1
    assert "a:50 (images.yaml:50): there is no 50 (resolve at docker.io). and 2 more" in page.text
    assert page.links == []


def test_no_image_is_a_page_of_a_line() -> None:
    assert markdown.summary(report()).rstrip("\n") == "## No image, nothing to copy"


@given(texts)
@example("a@b.c and @user")
@example("see www.x.example, http://x.example")
@example("cost $1 or $2 :tada: #12")
@example("1. x")
@example("</td></tr></table><h1>x")
@example("@" * 500)
def test_foreign_text_is_seen_as_it_is_and_is_no_markup(text: str) -> None:
    line, harmless = shown(text), markdown.plain(text)
    around = {
        f"{harmless}\n": ["p"] if line else [],
        f"- {harmless}\n- b\n": ["ul", "li", "li"],
        f"- a<br>\n  {harmless}\n": ["ul", "li", "br"],
        f"x ({harmless}): {harmless}.\n": ["p"],
        f"[{harmless}](https://x.example/y)\n": ["p", "a"],
        f"| a | b |\n| - | - |\n| {harmless} | {harmless} |\n": [
            "table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td",
        ],
    }  # fmt: skip
    for page, elements in around.items():
        rendered = Rendered(page)
        assert rendered.elements == elements
        assert line in rendered.text
        if page.startswith("[") or page == f"{harmless}\n":
            assert rendered.text == line
            assert not any(map(SEEN_LATER.search, rendered.pieces))


def hostile(number: int, text: str, file: str = "images.yaml") -> Outcome:
    source = Reference.parse(f"r{number}.example/a:1")
    at = Position(file, number + 1)
    job = CopyJob(source, Reference.parse("r.example/a:1"), (), at)
    if number % 3 == 0:
        return Outcome(job, Status.COPIED, notes=(text, text))
    where = Where(str(source.place) if number % 3 == 1 else text, None, Step.PULL)
    return Outcome(job, Status.FAILED, error=CopyError(text, where))


@given(st.lists(texts, max_size=7), texts, st.booleans())
def test_no_word_of_anybody_adds_an_element_a_row_or_a_cell(
    words: list[str], name: str, links: bool
) -> None:
    outcomes = [hostile(n, text, name) for n, text in enumerate(words)]
    page = Rendered(
        markdown.summary(
            Report(name, 302, tuple(outcomes)),
            destination=name,
            link=(lambda at: f"{BLOB}/list#L{at.line}") if links else markdown.no_link,
            report_path=name,
            failed_list=name,
        )
    )
    assert page.elements.count("td") == 7 * len(words)
    assert page.elements.count("tr") == (len(words) + 1 if words else 0)
    assert set(page.elements) <= {
        "h2", "strong", "p", "ul", "li", "br", "a", "details", "summary", "table", "thead", "tbody",
        "tr", "th", "td", "em",
    }  # fmt: skip
    assert page.open == []
    assert all(link and link.startswith(f"{BLOB}/list#L") for link in page.links)


@pytest.fixture(scope="module")
def large() -> Report:
    """A hundred thousand images: some hundred causes, one with thousands of failures."""

    def outcome(n: int) -> Outcome:
        job = CopyJob(
            Reference.parse(f"ghcr.io/a/b:{n}"),
            Reference.parse(f"r.example/a/b:{n}"),
            (),
            Position("images.yaml", n),
        )
        if n % 10:
            return Outcome(job, Status.COPIED, bytes_moved=n, seconds=1)
        kind = RegistryUnavailable if n % 100 else AuthenticationFailed
        where = Where(f"r{n % 300}.example" if n % 20 else f"h{n % 7}.example", None, Step.PULL)
        return Outcome(job, Status.FAILED, error=kind("no | more", where))

    return report(*(outcome(n) for n in range(1, 100_001)))


def told_and_rows(page: Rendered) -> tuple[int, int]:
    """How many rows the page says that it has, and how many there are."""
    rows = page.elements.count("tr") - 1
    found = re.search(r"([0-9]+) of [0-9]+ images?\b", page.text)
    return int(found[1]) if found else 0, max(rows, 0)


def test_a_large_page_is_cut_by_whole_rows_and_says_so(large: Report) -> None:
    text = markdown.summary(large, link=linked, report_path="report.json")
    page = Rendered(text)

    assert markdown.PAGE_BYTES_MAX - 400 < len(text.encode()) <= markdown.PAGE_BYTES_MAX
    told, rows = told_and_rows(page)
    assert told == rows > 1000
    assert (
        f"Left out, since the page would be too large: {100_000 - rows} rows of the table "
        "(all in report.json)."
    ) in page.text
    assert page.elements.count("td") == 7 * rows
    assert f"| ghcr.io/a/b:{rows} |" in text.splitlines()[-3], "the first ones, in their order"
    assert page.open == []


@pytest.mark.parametrize("limit", [-1, 0, 100, 300, 700, 1000, 2000, 5000, 20_000, 100_000])
def test_a_page_is_never_larger_than_its_limit_and_always_whole(large: Report, limit: int) -> None:
    small = Report(large.via, large.seconds, large.outcomes[:2000])
    text = markdown.summary(small, link=linked, limit_bytes=limit)
    page = Rendered(text)

    assert len(text.encode()) <= max(limit, 0)
    assert page.open == []
    if limit >= 1000:
        assert text.startswith("## 1800 copied, **200 failed**\n")
        told, rows = told_and_rows(page)
        assert told == rows
        entries = page.elements.count("li")
        left = re.search(r"too large: ([0-9]+) causes of ([0-9]+) failures", page.text)
        assert entries + (int(left[1]) if left else 0) == len(causes_of(small))
        assert rows == 0 or not left, "failures come before the table"
        assert f"{2000 - rows} rows of the table; --report FILE writes them all." in page.text


@pytest.mark.parametrize("limit", range(600, 2200, 100))
def test_behind_the_first_failure_that_has_no_room_there_is_none(limit: int, failed: Fail) -> None:
    outcomes = [failed("a:1", CopyError, "x" * 500), failed("b.example/b:1", CopyError, "no")]
    text = markdown.summary(report(*outcomes), limit_bytes=limit)
    assert ("**a:1**" in text) >= ("**b.example/b:1**" in text)


def causes_of(whole: Report) -> set[tuple[type[CopyError], str]]:
    return {(type(o.error), o.error.where.registry) for o in whole.outcomes if o.error}


@given(st.integers(0, 3000), st.lists(texts, max_size=6))
def test_whatever_is_said_the_limit_holds(limit: int, words: list[str]) -> None:
    outcomes = [hostile(n, text * 50, text * 50) for n, text in enumerate(words)]
    text = markdown.summary(report(*outcomes), link=markdown.no_link, limit_bytes=limit)
    assert len(text.encode()) <= limit
    assert Rendered(text).open == []


def test_mistakes_are_a_page_with_a_link_each() -> None:
    found = [
        Mistake(Position("images.yaml", 4, 1), "no image is called 'Nginx:1.27'. Write nginx:1.27"),
        Mistake(Position("images.yaml", 100, 1), "two would become one: s3cret.\n  Keep one."),
    ]
    assert markdown.mistakes(found, list_name="images.yaml", link=linked, secrets=["s3cret"]) == (
        "## 2 mistakes in images.yaml. Nothing was copied.\n\n"
        f"- **[images.yaml:4]({BLOB}/images.yaml#L4)**: "
        "no image is called 'Nginx:1.27'. Write nginx:1.27\n"
        f"- **[images.yaml:100]({BLOB}/images.yaml#L100)**: "
        "two would become one: &#42;&#42;&#42;.<br>\n  Keep one.\n"
    )


@given(st.lists(texts, min_size=1, max_size=5), texts)
@example(["a\n\n", "b"], "images.yaml")
def test_mistakes_show_foreign_words_as_they_are(words: list[str], name: str) -> None:
    found = [Mistake(Position(name, 100), text) for text in words]
    page = Rendered(markdown.mistakes(found, list_name=name))
    assert page.elements.count("li") == len(words)
    assert set(page.elements) <= {"h2", "ul", "li", "br", "strong"}
    assert not any(re.search(":100:", piece) for piece in page.pieces), "an emoji"


def test_more_mistakes_than_a_page_takes_are_counted() -> None:
    found = [Mistake(Position("images.yaml", n), "no") for n in range(1000)]
    text = markdown.mistakes(found, list_name="images.yaml", limit_bytes=2000)
    assert len(text.encode()) <= 2000
    entries = Rendered(text).elements.count("li")
    assert entries > 50
    assert text.endswith(f"\nAnd {1000 - entries} more, which the log names.\n")
    assert markdown.mistakes(found, list_name="images.yaml", limit_bytes=50) == ""


@given(st.lists(texts, min_size=1, max_size=4))
@example(["a", "", "b"])
def test_what_ended_a_command_is_a_paragraph(lines: list[str]) -> None:
    page = Rendered(markdown.message("Nothing was copied", lines))
    told = [shown(line) for line in lines]
    assert page.text == " ".join(["Nothing was copied", *filter(None, told)])
    assert set(page.elements) <= {"h2", "p", "br"}
    assert page.elements.count("br") == max(0, sum(map(bool, told)) - 1)


def test_a_message_that_does_not_fit_is_left_out() -> None:
    assert markdown.message("No", ["x" * 100], limit_bytes=100) == ""
