"""What GitHub is told: few annotations at the right lines, masks, outputs, and nothing foreign."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asyncsync.model.access import Credential
from asyncsync.model.errors import (
    AuthenticationFailed,
    CopyError,
    DiskFull,
    NoSuchPlatform,
    NotFound,
    RegistryUnavailable,
    TlsError,
    Where,
)
from asyncsync.model.job import CopyJob, Step
from asyncsync.model.outcome import Outcome, Report, Status
from asyncsync.model.reference import Reference
from asyncsync.model.spec import ListWarning, Mistake, Position
from asyncsync.reporting import github
from asyncsync.reporting.causes import causes
from asyncsync.reporting.github import Annotation, Level

Fail = Callable[..., Outcome]
Command = tuple[str, dict[str, str], str]
MISSING = "Correct the name or the tag in the list, or comment the line out with #."
texts = st.text() | st.lists(
    st.sampled_from(
        ["::", ":", "%", "0A", "\n", "\r", ",", "=", "error ", "file", "x", " ", "\ud800"]
    )
).map("".join)  # fmt: skip


def heard(output: str) -> list[Command]:
    """What a runner takes from `output`: ActionCommand.TryParseV2 of actions/runner, in Python."""
    found = []
    for line in re.split(r"\r\n|\r|\n", output):
        text = line.lstrip()
        end = text.find("::", 2)
        if not text.startswith("::") or end < 0:
            continue
        name, _, told = text[2:end].partition(" ")
        pairs = (pair.split("=", 1) for pair in told.strip().split(",") if "=" in pair)
        properties = {key: unescaped(value, {"%3A": ":", "%2C": ","}) for key, value in pairs}
        found.append((name, properties, unescaped(text[end + 2 :], {})))
    return found


def unescaped(text: str, more: dict[str, str]) -> str:
    for escape, sign in {"%0D": "\r", "%0A": "\n", **more, "%25": "%"}.items():
        text = text.replace(escape, sign)
    return text


def in_repository(name: str) -> str | None:
    return f"lists/{name}"


def told(*outcomes: Outcome, **how: str) -> list[Annotation]:
    report = Report("engine", 302, outcomes)
    return list(github.failures(report, inside=in_repository, **how))


def errors(annotations: Iterable[Annotation]) -> list[Annotation]:
    return [each for each in annotations if each.level is Level.ERROR]


def test_a_failure_stands_at_its_line_of_the_list_as_the_repository_names_it(failed: Fail) -> None:
    outcome = failed("redis:7.99", NotFound, "library/redis has no tag 7.99", 7)
    (annotation,) = told(outcome)
    assert str(annotation) == (
        "::error file=lists/images.yaml,line=7,col=1,title=Not found%3A redis%3A7.99::"
        f"library/redis has no tag 7.99 (resolve at docker.io).%0A{MISSING}"
    )


def test_a_cause_is_one_annotation_that_names_the_other_places(failed: Fail) -> None:
    lines = (12, 14, 18, 19, 23, 30, *range(40, 71))
    refused = "ghcr.io refuses us (401 Unauthorized)"
    assert told(*(failed(f"ghcr.io/a/b:{n}", AuthenticationFailed, refused, n) for n in lines)) == [
        Annotation(
            Level.ERROR,
            "Authentication failed: 37 images",
            f"{refused} (resolve at ghcr.io).\n"
            f"{AuthenticationFailed('', Where('ghcr.io', 'ghcr.io/a')).advice()}\n"
            "Also images.yaml:14, 18, 19, 23, 30 and 31 more",
            Position("lists/images.yaml", 12, 1),
        )
    ]


def test_failures_with_words_of_their_own_are_told_one_by_one_while_there_is_room(
    failed: Fail,
) -> None:
    outcomes = [
        *(failed(f"a:{n}", NotFound, f"there is no {n}", n) for n in range(1, 13)),
        failed("b:1", TlsError, "no TLS", 20),
        failed("c:1", CopyError, "who knows", 21),
    ]
    annotations = told(*outcomes)

    assert [each.title for each in annotations] == [
        *(f"Not found: a:{n}" for n in range(1, 9)),
        "TLS error: b:1",
        "Not copied: c:1",
    ]
    assert [each.at.line for each in annotations if each.at] == [*range(1, 9), 20, 21]
    assert annotations[6].message == f"there is no 7 (resolve at docker.io).\n{MISSING}"
    assert annotations[7].message == (
        f"there is no 8 (resolve at docker.io).\n{MISSING}\nAlso images.yaml:9, 10, 11, 12"
    )


def test_a_title_is_no_longer_than_github_takes_however_long_a_name_is(failed: Fail) -> None:
    name = f"r.example/{'a' * 240}:{'b' * 128}"
    (annotation,) = told(failed(name, NotFound, "it is not there", 1))
    title = str(annotation).partition("title=")[2].partition("::")[0]
    assert title.startswith("Not found%3A r.example/aaa")
    assert len(title.replace("%3A", ":")) == 255


def test_ten_causes_have_one_annotation_each(failed: Fail) -> None:
    annotations = told(*of_causes(10, failed))
    assert [each.title for each in annotations] == ["Not found: 2 images"] * 10


def test_the_tenth_of_more_causes_says_how_many_and_where_to_read_them(failed: Fail) -> None:
    annotations = told(*of_causes(12, failed), failed_list="failed\n.yaml")
    assert len(annotations) == 10
    assert annotations[8].at == Position("lists/images.yaml", 8, 1)
    assert annotations[9] == Annotation(
        Level.ERROR,
        "3 more causes",
        "6 images failed of 3 more causes. The summary page of the run names them, "
        "and failed .yaml lists the images.",
    )


def of_causes(number: int, failed: Fail) -> list[Outcome]:
    """Two failures of each cause."""
    return [
        failed(f"r{n}.example/{name}:1", NotFound, "it is not there", n)
        for name in "ab"
        for n in range(number)
    ]


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 14), st.booleans()), max_size=14))
def test_never_more_than_ten_errors_and_every_cause_that_can_has_one(
    groups: list[tuple[int, int, bool]],
) -> None:
    outcomes = [
        failure(f"r{place}.example/a:{n}", f"not {n if own else 0}", n)
        for number, place, own in groups
        for n in range(number)
    ]
    annotations = told(*outcomes)
    assert len(annotations) <= 10
    assert len(annotations) >= min(10, len(causes(outcomes)))


def failure(name: str, what: str, line: int = 1) -> Outcome:
    source = Reference.parse(name)
    job = CopyJob(source, Reference.parse("r.example/a:1"), (), Position("images.yaml", line))
    error = CopyError(what, Where(str(source.place), name, Step.PULL))
    return Outcome(job, Status.FAILED, error=error)


def test_a_list_outside_the_repository_is_named_in_the_message(failed: Fail) -> None:
    alone = failed("redis:7.99", NotFound, "there is no 7.99", 7)
    together = [failed(f"q.io/a/b:{n}", RegistryUnavailable, "503", n) for n in range(1, 9)]
    annotations = list(github.failures(Report("engine", 1, (alone, *together))))
    assert [(each.at, each.message.split("\n")) for each in annotations] == [
        (None, ["redis:7.99 (images.yaml:7): there is no 7.99 (resolve at docker.io).", MISSING]),
        (
            None,
            [
                "503 (resolve at q.io).",
                "Check that q.io is up and reachable from here, then run it again.",
                "images.yaml:1, 2, 3, 4, 5 and 3 more",
            ],
        ),
    ]
    assert not any("file=" in str(each) or "line=" in str(each) for each in annotations)


def test_positions_that_are_all_named_leave_no_more_to_count(failed: Fail) -> None:
    six = [failed(f"q.io/a/b:{n}", RegistryUnavailable, "503", n) for n in range(1, 7)]
    (annotation,) = github.failures(Report("engine", 1, tuple(six[:5])))
    assert annotation.message.endswith("\nimages.yaml:1, 2, 3, 4, 5")
    (annotation,) = github.failures(Report("engine", 1, tuple(six)))
    assert annotation.message.endswith("\nimages.yaml:1, 2, 3, 4, 5 and 1 more")
    assert github.unread(["cut off"] * 5).message == "\n".join(["cut off"] * 5)


def test_of_more_causes_than_ten_each_of_the_first_nine_has_one_error(failed: Fail) -> None:
    outcomes = [
        failed(f"r{n}.io/a:{tag}", NotFound, f"no {tag}") for n in range(11) for tag in "12"
    ]
    titles = [each.title for each in github.failures(Report("engine", 1, tuple(outcomes)))]
    assert titles == [*(f"Not found: r{n}.io/a:1" for n in range(9)), "2 more causes"]


def test_what_was_not_tried_is_one_warning(ended: Callable[..., Outcome]) -> None:
    assert told(
        ended("a:1", Status.COPIED),
        *(ended(f"b:{n}", Status.CANCELLED) for n in range(3)),
        *(ended(f"c:{n}", Status.NOT_STARTED) for n in range(5)),
    ) == [
        Annotation(
            Level.WARNING,
            "Not copied",
            "3 images cancelled.\n5 images not started.\n"
            "Run it again: what is in place is skipped.",
        )
    ]
    assert told(ended("a:1", Status.UNCHANGED)) == []


def test_mistakes_are_errors_at_their_column_and_the_tenth_counts_the_rest() -> None:
    found = [Mistake(Position("images.yaml", n, 6), f"no {n}") for n in range(1, 13)]
    annotations = list(github.mistakes(found, inside=in_repository))
    assert len(annotations) == 10
    assert str(annotations[0]) == (
        "::error file=lists/images.yaml,line=1,col=6,title=Mistake in the list::no 1"
    )
    assert annotations[9].message == "no 10\nAnd 2 more; the log has them all."
    ten = list(github.mistakes(found[:10], inside=in_repository))
    assert ten[9].message == "no 10"


def test_a_mistake_on_stdin_says_where_in_words_and_hides_secrets() -> None:
    found = [Mistake(Position("-", 3, 6), "no hunter22\nKeep one of them.")]
    (annotation,) = github.mistakes(found, secrets=["hunter22"])
    assert annotation.message == "-:3:6: no ***\nKeep one of them."
    assert annotation.at is None


def test_warnings_about_a_list_leave_one_for_the_end_of_the_run() -> None:
    found = [ListWarning(Position("images.yaml", n), "twice") for n in range(1, 13)]
    annotations = list(github.warnings(found, inside=in_repository))
    assert len(annotations) == 9
    assert str(annotations[0]) == (
        "::warning file=lists/images.yaml,line=1,col=1,title=Warning about the list::twice"
    )
    assert annotations[8].message == "twice\nAnd 3 more; the log has them all."


@given(texts, texts, texts)
@example("x", "\r\n::error::gone", "images.yaml,line=1::")
@example("%0A", "100%25", "a%2Cb")
@example("", "", " ")
def test_no_text_makes_a_second_command_or_another_property(
    title: str, message: str, file: str
) -> None:
    place = {"file": file, "line": "3", "col": "1", "title": title}
    (command,) = heard(str(Annotation(Level.ERROR, title, message, Position(file, 3, 1))))
    name, properties, data = command
    assert (name, data) == ("error", message)
    assert {key: value.rstrip() for key, value in properties.items()} == {
        key: value.rstrip() for key, value in place.items()
    }, "a runner trims what ends the properties"


@given(st.lists(texts, max_size=4))
def test_foreign_words_of_failures_and_mistakes_are_commands_to_nobody(words: list[str]) -> None:
    outcomes = [failure(f"r{n}.example/a:1", what) for n, what in enumerate(words)]
    found = [Mistake(Position(what, 1), what) for what in words]
    lines = [
        *map(str, told(*outcomes)),
        *map(str, github.failures(Report("engine", 1, tuple(outcomes)))),
        *map(str, github.mistakes(found, inside=in_repository)),
        *map(str, github.mistakes(found)),
    ]
    commands = heard("\n".join(lines))
    assert len(commands) == 4 * len(words)
    for name, properties, _ in commands:
        assert name == "error"
        assert properties.keys() <= {"file", "line", "col", "title"}


secrets = st.text(min_size=4).filter(lambda text: len(text.strip()) >= 4)


@given(secrets)
@example("hunter2\nand a second line\r\nx")
@example("50%0Aoff")
def test_a_secret_is_masked_whole_and_line_by_line(secret: str) -> None:
    commands = heard("\n".join(github.masks([secret])))
    assert {(name, len(properties)) for name, properties, _ in commands} == {("add-mask", 0)}
    masked = [data for _, _, data in commands]
    assert masked[0] == secret
    assert set(masked[1:]) == {
        line for line in secret.splitlines() if len(line.strip()) >= 4 and line != secret
    }


def test_a_secret_as_short_as_a_word_is_not_masked() -> None:
    assert list(github.masks(["", "abc", "a\nb\ncde", "    ", "   a   "])) == [
        "::add-mask::a%0Ab%0Acde"
    ]


def test_a_secret_is_masked_in_each_form_in_which_it_comes_back() -> None:
    commands = heard("\n".join(github.masks(Credential("u", 'p"ä/s s').secrets)))
    masked = [data for _, _, data in commands]
    for form in (
        'p"ä/s s',
        "p%22%C3%A4%2Fs%20s",
        "p&quot;ä/s s",
        'p\\"ä/s s',
        'p\\"\\u00e4/s s',
        base64.b64encode('u:p"ä/s s'.encode()).decode().rstrip("="),
        base64.b64encode('p"ä/s s'.encode()).decode().rstrip("="),
    ):
        assert form in masked


def test_outputs_have_every_status_and_where_the_report_is(ended: Callable[..., Outcome]) -> None:
    report = Report("engine", 1, (ended("a:1", Status.COPIED), ended("b:1", Status.UNCHANGED)))
    counts = "copied=1\nunchanged=1\nfailed=0\ncancelled=0\nnot_started=0\n"
    assert github.outputs(report, "/w/report.json") == f"{counts}report=/w/report.json\n"
    assert github.outputs(report, None) == f"{counts}report=\n"


def read_back(text: str) -> dict[str, str]:
    """What a runner takes from the file: FileCommandManager of actions/runner, in Python."""
    found, lines = {}, iter(text.split("\n"))
    for line in lines:
        name, told, rest = re.match("([^=<]*)(=|<<|)(.*)", line, re.DOTALL).groups()  # type: ignore[union-attr]
        if told == "<<":
            inside = []
            while (each := next(lines)) != rest:
                inside.append(each)
            rest = "\n".join(inside)
        if told:
            found[name] = rest
    return found


@given(texts)
@example("/w/a\nfailed=0\nreport=/elsewhere")
@example("/w/a\r\nend-of-it\nfailed=0")
@example("a<<b")
def test_no_path_sets_another_output(path: str) -> None:
    counts = dict.fromkeys(("copied", "unchanged", "failed", "cancelled", "not_started"), "0")
    found = read_back(github.outputs(Report("engine", 1, ()), path))
    assert found == {**counts, "report": path}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (CopyError, "Not copied"),
        (TlsError, "TLS error"),
        (DiskFull, "Disk full"),
        (NoSuchPlatform, "No such platform"),
    ],
)
def test_a_kind_is_told_in_words(kind: type[CopyError], words: str, failed: Fail) -> None:
    (annotation,) = told(failed("a:1", kind, "no"))
    assert annotation.title == f"{words}: a:1"
