"""A run is followed to its last line, however it ends."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import anyio
import pytest
from parts.clock import Clock

from asyncsync.cli.deadline import Deadline
from asyncsync.cli.following import follow
from asyncsync.cli.github import Page
from asyncsync.cli.output import Output
from asyncsync.cli.settings import Given, Settings, settings
from asyncsync.cli.signals import Interruption
from asyncsync.cli.telling import Telling
from asyncsync.model.digest import Digest
from asyncsync.model.errors import CopyError, EngineUnavailable, NotFound, Where
from asyncsync.model.events import BytesMoved, Chosen, Copy, Observe, StepStarted
from asyncsync.model.job import CopyJob, Destination, Plan, Step
from asyncsync.model.outcome import Copied, Outcome, Report, Status
from asyncsync.model.reference import Reference
from asyncsync.model.spec import Position
from asyncsync.reporting.log import Level, open_log
from asyncsync.reporting.narration import Narration
from asyncsync.reporting.succeeded_log import SucceededLog
from asyncsync.scheduling import Run, running

DIGEST = Digest.of(b"a manifest")
NAMES = ("nginx:1.27", "missing:1", "redis:7")


class Scripted:
    """A run of the real scheduler, whose copies are a script."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __aiter__(self) -> AsyncIterator[Outcome]:
        return self._run.__aiter__()

    def stop(self) -> None:
        self._run.stop()

    def drain(self) -> None:
        self._run.drain()

    @property
    def report(self) -> Report:
        return Report("engine", 2.0, self._run.told)


async def copy(job: CopyJob, observe: Observe) -> Copied:
    """Bring a thousand bytes; what is called missing is not found."""
    observe(StepStarted(job, Step.PULL))
    await anyio.lowlevel.checkpoint()
    if "missing" in job.source.repository:
        raise NotFound("there is no tag 1", Where("docker.io", str(job.source), Step.PULL))
    observe(BytesMoved(job, 1000))
    return Copied(DIGEST, changed="redis" not in job.source.repository)


class Screen:
    """What the command tells of a run of NAMES, and where it went."""

    def __init__(
        self,
        folder: Path,
        out: io.StringIO | None = None,
        page: Page | None = None,
        names: Sequence[str] = NAMES,
        **options: object,
    ) -> None:
        jobs = [
            CopyJob(
                Reference.parse(name), Reference.parse(f"r.example/team/{name}"), (),
                Position("images.yaml", line),
            )
            for line, name in enumerate(names, start=1)
        ]  # fmt: skip
        self.plan = Plan(tuple(jobs))
        self.stdout, self.stderr = out or io.StringIO(), io.StringIO()
        self.settings = chosen(folder, **options)
        self.log_path = self.settings.succeeded_log
        log = open_log(self.stderr, log_format="console", level=Level.WARNING)
        narration = Narration(log, failures_shown=True)
        narration.begin(self.plan, to=self.settings.to, concurrency=1)
        self.file = self.log_path.open("w")
        self.telling = Telling(
            self.plan, self.settings, log, narration, Output(self.stdout),
            SucceededLog(self.file, lambda: None), page,
        )  # fmt: skip

    @asynccontextmanager
    async def opening(self, script: Copy = copy) -> AsyncIterator[Scripted]:
        self.telling.observe(Chosen("engine", "a script"))
        jobs, observe = self.plan.jobs, self.telling.observe
        fail_fast = self.settings.fail_fast
        async with running(
            jobs, script, concurrency=1, fail_fast=fail_fast, observe=observe
        ) as run:
            yield Scripted(run)

    async def follow(
        self,
        opening: AbstractAsyncContextManager[Scripted] | None = None,
        deadline: Deadline | None = None,
    ) -> Report:
        with self.file:
            opening = opening or self.opening()
            return await follow(opening, self.telling, Interruption(), deadline)


def chosen(folder: Path, **options: object) -> Settings:
    nothing = dict.fromkeys(Given.__annotations__)
    given = {
        **nothing, "to": Destination.parse("r.example/team"), "platforms": (), "plain_http": (),
        "insecure_skip_verify": (), "mirrors": (), "with_referrers": False,
        "output": "table", "quiet": False, "succeeded_log": folder / "succeeded.log", **options,
    }  # fmt: skip
    return settings(given, {})  # type: ignore[arg-type]


async def test_what_goes_wrong_inside_asyncio_is_no_traceback_before_a_user(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def mishap(job: CopyJob, observe: Observe) -> Copied:
        asyncio.get_running_loop().call_exception_handler({"message": "Fatal error on SSL"})
        return await copy(job, observe)

    screen = Screen(tmp_path, names=["nginx:1.27"])
    before = asyncio.get_running_loop().get_exception_handler()
    report = await screen.follow(screen.opening(mishap))
    assert report.ok
    assert not caplog.records
    assert "Fatal" not in screen.stderr.getvalue()
    assert asyncio.get_running_loop().get_exception_handler() == before


async def test_a_callback_that_fails_is_a_bug_and_is_seen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def bug() -> None:
        raise ZeroDivisionError

    async def mistaken(job: CopyJob, observe: Observe) -> Copied:
        asyncio.get_running_loop().call_soon(bug)
        return await copy(job, observe)

    screen = Screen(tmp_path, names=["nginx:1.27"])
    await screen.follow(screen.opening(mistaken))
    (record,) = caplog.records
    assert record.exc_info
    assert record.exc_info[0] is ZeroDivisionError


async def test_rows_then_causes_then_counts_are_told(tmp_path: Path) -> None:
    failed, report = tmp_path / "failed.yaml", tmp_path / "report.json"
    screen = Screen(tmp_path, failed_list=failed, report=report)

    await screen.follow()

    assert screen.stderr.getvalue() == (
        "3 images to r.example/team, 1 at once, via=engine: a script\n"
    )
    lines = screen.stdout.getvalue().splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [
        ["copied", "nginx:1.27"], ["failed", "missing:1"], ["unchanged", "redis:7"],
    ]  # fmt: skip
    assert lines[3:] == [
        "",
        "missing:1 (images.yaml:2): there is no tag 1 (pull at docker.io).",
        "  Correct the name or the tag in the list, or comment the line out with #.",
        "",
        f"1 copied, 1 unchanged, 1 failed. 2.0 kB moved in 2.0 s. {screen.log_path} names what is "
        f"in place. {failed} lists the rest.",
        "Then run the same command again: what is in place is skipped.",
    ]
    assert screen.log_path.read_text().splitlines() == [
        f"docker.io/library/nginx:1.27 -> r.example/team/nginx:1.27@{DIGEST}",
        f"docker.io/library/redis:7 -> r.example/team/redis:7@{DIGEST}",
    ]
    assert failed.read_text().splitlines()[-1] == "docker.io/library/missing:1"
    assert json.loads(report.read_text())["counts"]["failed"] == 1


async def test_a_limit_is_told_with_how_much_of_it_was_reached(tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    page = Page({"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}, pytest.fail)
    screen = Screen(tmp_path, page=page, limit_rate=500.0)  # for 2,000 bytes in 2 s
    await screen.follow()
    end = screen.stdout.getvalue().splitlines()[-2]
    assert "2.0 kB moved in 2.0 s: 100 % of what 500 B/s allow. " in end
    assert summary.read_text().splitlines()[2].endswith(": 100 % of what 500 B/s allow.")


async def test_json_is_all_that_stdout_carries(tmp_path: Path) -> None:
    screen = Screen(tmp_path, output="json")
    await screen.follow()
    document = json.loads(screen.stdout.getvalue())
    assert document["via"] == "engine"
    assert [each["status"] for each in document["outcomes"]] == ["copied", "failed", "unchanged"]


async def test_quiet_leaves_failures_and_counts(tmp_path: Path) -> None:
    screen = Screen(tmp_path, quiet=True)
    await screen.follow()
    lines = screen.stdout.getvalue().splitlines()
    assert lines[0].split()[:2] == ["failed", "missing:1"]
    assert lines[-2].startswith("1 copied, 1 unchanged, 1 failed.")


@pytest.mark.parametrize("quiet", [False, True])
async def test_of_many_images_that_were_not_started_the_number_is_told(
    tmp_path: Path, quiet: bool
) -> None:
    rest, todo, summary = (tmp_path / name for name in ("report.json", "todo", "summary.md"))
    names = [f"missing-{n}:1" for n in range(12)]
    page = Page({"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}, pytest.fail)
    screen = Screen(
        tmp_path, page=page, names=names, quiet=quiet, fail_fast=True, report=rest, failed_list=todo
    )
    await screen.follow()
    rows = screen.stdout.getvalue().partition("\n\n")[0].splitlines()
    assert [row.split()[0] for row in rows] == ["failed", "not"]
    assert rows[-1] == f"  not started  11 images (all in {todo})"
    assert len(json.loads(rest.read_text())["outcomes"]) == 12
    assert todo.read_text().count("# not started: a failure ended the run before\n") == 11
    (row,) = (line for line in summary.read_text().splitlines() if "| not started |" in line)
    assert row.startswith("| not started | 11 images |  |  |  |  | all in ")


@pytest.mark.parametrize(("idle", "rows"), [(10, 10), (11, 1)])
async def test_a_few_images_that_were_not_started_are_told_by_name(
    tmp_path: Path, idle: int, rows: int
) -> None:
    screen = Screen(tmp_path, names=[f"missing-{n}:1" for n in range(idle + 1)], fail_fast=True)
    await screen.follow()
    told = [line for line in screen.stdout.getvalue().splitlines() if "  not started  " in line]
    assert len(told) == rows
    assert told[-1] == (
        "  not started  missing-10:1  images.yaml:11"
        if rows > 1
        else "  not started  11 images (--failed-list FILE writes them all)"
    )


async def test_a_full_disk_does_not_end_the_copying_but_is_told(tmp_path: Path) -> None:
    full = Path("/dev/full")
    screen = Screen(tmp_path, failed_list=full)

    report = await screen.follow()

    assert len(report.outcomes) == 3
    assert not screen.telling.complete
    assert "--failed-list /dev/full cannot be written" in screen.stderr.getvalue()


async def test_what_the_library_refuses_reaches_the_caller_bare(tmp_path: Path) -> None:
    @asynccontextmanager
    async def refusing() -> AsyncIterator[Scripted]:
        raise EngineUnavailable("No Docker Engine answers")
        yield

    screen = Screen(tmp_path)
    with pytest.raises(EngineUnavailable):
        await screen.follow(refusing())
    assert screen.stdout.getvalue() == ""


async def test_a_bug_in_mid_run_does_not_hide_what_is_in_place(tmp_path: Path) -> None:
    async def buggy(job: CopyJob, observe: Observe) -> Copied:
        if "redis" in job.source.repository:
            raise KeyError("a bug")
        return await copy(job, observe)

    screen = Screen(tmp_path)
    with pytest.raises(KeyError):
        await screen.follow(screen.opening(buggy))

    assert "1 copied, 1 failed, 1 cancelled." in screen.stdout.getvalue()
    assert screen.log_path.read_text().startswith("docker.io/library/nginx:1.27 -> ")


async def test_hostile_words_never_begin_a_line(tmp_path: Path) -> None:
    async def hostile(job: CopyJob, observe: Observe) -> Copied:
        raise CopyError("\x1b[2J\r\n::error::" + "x" * 10**6, Where("docker.io", "a", Step.PULL))

    screen = Screen(tmp_path, failed_list=tmp_path / "failed.yaml")
    await screen.follow(screen.opening(hostile))

    written = screen.stdout.getvalue() + (tmp_path / "failed.yaml").read_text()
    for line in written.splitlines():
        assert line.isprintable()
        assert not line.lstrip(" #").startswith("::")
        assert len(line) < 1000


async def test_a_reader_that_leaves_does_not_end_the_copying(tmp_path: Path) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    screen = Screen(tmp_path, out=Gone())
    report = await screen.follow()
    assert len(report.outcomes) == 3
    assert len(screen.log_path.read_text().splitlines()) == 2


def statuses(report: Report) -> list[Status]:
    return [outcome.status for outcome in report.outcomes]


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_near_the_deadline_nothing_is_begun_and_what_is_under_way_may_end(
    tmp_path: Path, clock: Clock
) -> None:
    screen = Screen(tmp_path, failed_list=tmp_path / "failed.yaml")

    async def goes_on_after_the_last_call(job: CopyJob, observe: Observe) -> Copied:
        observe(StepStarted(job, Step.PULL))
        clock.advance(85)
        while "near" not in screen.stderr.getvalue():
            await anyio.lowlevel.checkpoint()
        return Copied(DIGEST)

    with clock.of_the_loop():
        opening = screen.opening(goes_on_after_the_last_call)
        report = await screen.follow(opening, Deadline(100, began=clock()))

    assert statuses(report) == [Status.COPIED, Status.NOT_STARTED, Status.NOT_STARTED]
    assert screen.stderr.getvalue().splitlines()[1:] == [
        "The deadline is near: 2 images will not be started; 1 under way has 10 s to end."
    ]
    assert "1 copied, 2 not started." in screen.stdout.getvalue()
    left = (tmp_path / "failed.yaml").read_text().splitlines()
    why = "# not started: the deadline came first"
    assert left[1:] == [why, "docker.io/library/missing:1", why, "docker.io/library/redis:7"]


async def test_at_the_deadline_what_is_under_way_is_given_up(tmp_path: Path, clock: Clock) -> None:
    async def never_ends(job: CopyJob, observe: Observe) -> Copied:
        observe(StepStarted(job, Step.PULL))
        clock.advance(95)
        await anyio.sleep_forever()
        raise AssertionError

    screen = Screen(tmp_path)
    with clock.of_the_loop():
        report = await screen.follow(screen.opening(never_ends), Deadline(100, began=clock()))

    assert statuses(report) == [Status.CANCELLED, Status.NOT_STARTED, Status.NOT_STARTED]
    assert screen.stderr.getvalue().splitlines()[-1] == (
        "The deadline is here: 1 image under way given up."
    )


async def test_a_deadline_that_passes_before_the_engine_answers_starts_nothing(
    tmp_path: Path, clock: Clock
) -> None:
    @asynccontextmanager
    async def never_opens() -> AsyncIterator[Scripted]:
        clock.advance(85)
        await anyio.sleep_forever()
        yield

    screen = Screen(tmp_path)
    with clock.of_the_loop():
        report = await screen.follow(never_opens(), Deadline(100, began=clock()))
    assert statuses(report) == [Status.NOT_STARTED] * 3


async def test_a_deadline_that_finds_nothing_under_way_says_nothing_of_giving_up(
    tmp_path: Path, clock: Clock
) -> None:
    class Lingers(Scripted):
        async def __aiter__(self) -> AsyncIterator[Outcome]:  # type: ignore[override]
            async for outcome in super().__aiter__():
                yield outcome
            await clock.pass_by(98)  # beyond what the deadline leaves for copying

    screen = Screen(tmp_path)

    @asynccontextmanager
    async def opening() -> AsyncIterator[Scripted]:
        async with screen.opening() as run:
            yield Lingers(run._run)

    with clock.of_the_loop():
        await screen.follow(opening(), Deadline(100, began=clock()))
    assert "deadline" not in screen.stderr.getvalue()


async def test_a_run_that_ends_in_time_hears_nothing_of_its_deadline(tmp_path: Path) -> None:
    screen = Screen(tmp_path)
    await screen.follow(deadline=Deadline(3600))
    assert "deadline" not in screen.stderr.getvalue()


@pytest.mark.parametrize(
    ("seconds", "last_call", "end"),
    [(19800, 19495, 19795), (600, 535, 595), (60, 49, 55), (4, 2.6, 3)],
)
def test_a_deadline_leaves_time_to_end_and_to_clean_up(
    seconds: float, last_call: float, end: float
) -> None:
    deadline = Deadline(seconds, began=0)
    assert (deadline.last_call, deadline.end) == pytest.approx((last_call, end))


async def test_each_way_of_ending_early_is_the_reason_of_what_it_left(tmp_path: Path) -> None:
    async def fails(job: CopyJob, observe: Observe) -> Copied:
        raise CopyError("the disk is full", Where("docker.io"), ends_run=True)

    screen = Screen(tmp_path, failed_list=tmp_path / "failed.yaml", report=tmp_path / "report.json")
    await screen.follow(screen.opening(fails))

    document = json.loads((tmp_path / "report.json").read_text())
    assert [outcome["notes"] for outcome in document["outcomes"]] == [
        [], ["a failure ended the run before"], ["a failure ended the run before"],
    ]  # fmt: skip
    why = "# not started: a failure ended the run before"
    assert (tmp_path / "failed.yaml").read_text().splitlines().count(why) == 2
