"""What GitHub Actions shows of a command: annotations, a page, outputs; and what it blanks out."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TextIO
from urllib.parse import quote

from asyncsync.cli.environment import Variables, host_within, names
from asyncsync.cli.files import STDIN, reason
from asyncsync.cli.output import Output
from asyncsync.reporting import github, markdown

if TYPE_CHECKING:
    from asyncsync.model.outcome import Report
    from asyncsync.model.spec import ListWarning, Mistake, Position

_SERVER = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?")
_REPOSITORY = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class Page:
    """What one command shows there. Raises nothing: what cannot be written goes to `warn`.

    With ASYNCSYNC_PAGE=false nothing of what a report has: of the parts of a large list another
    job tells, but not of what keeps a part from having a report.
    """

    def __init__(self, variables: Variables, warn: Callable[[str], None]) -> None:
        self._variables, self._warn = variables, warn
        self._silent = variables.get("ASYNCSYNC_PAGE") == "false"
        self._checkout = Checkout(variables)
        self._said: Counter[github.Level] = Counter()
        self._reported = False

    def mask(self, secrets: Iterable[str], *, names: Iterable[str] = ()) -> None:
        """Have the runner blank out `secrets` from now on; before anything else is written.

        `names` may be secret, too: the runner knows them, but not as the page has to write them.
        """
        # Not where it stays: the runner takes these lines out of its log, but not out of a file.
        # It gives us two pipes; a single one is somebody's `2>&1 | tee log`.
        if _is_file(sys.stderr) or _are_one(sys.stdout, sys.stderr):
            return
        # As it stands alone, and as it stands within a sentence or a cell.
        forms = ((name, markdown.plain(name), markdown.plain(f"a {name}")[2:]) for name in names)
        written = (form for name, *others in forms for form in others if form != name)
        out = Output(sys.stderr)
        for command in github.masks((*secrets, *written)):
            out.write(f"{command}\n")
        out.flush()

    def mask_names(self) -> None:
        """Hide where images go, and as whom, as the variables have it."""
        host = host_within(self._variables)
        alone = (host,) if host else ()
        self.mask(alone, names=(*alone, *names(self._variables)))

    def tell_warnings(self, warnings: Sequence[ListWarning]) -> None:
        """Annotate what a plan warns of."""
        if self._silent:
            return
        self._annotate(github.warnings(warnings, inside=self._checkout.inside))

    def tell_report(
        self,
        report: Report,
        *,
        destination: str | None,
        report_path: Path | None = None,
        failed_list: Path | None = None,
        limit_rate: float | None = None,
    ) -> None:
        """Show how a run ended. `report_path`, `failed_list`: files that were written, if any.

        `limit_rate`: the bytes a second that were allowed.
        """
        self._reported = True
        if self._silent:
            return
        written, listed = (str(path) if path else None for path in (report_path, failed_list))
        self._annotate(github.failures(report, inside=self._checkout.inside, failed_list=listed))
        self._summarize(
            lambda limit: markdown.summary(
                report,
                destination=destination,
                link=self._checkout.link,
                report_path=written,
                failed_list=listed,
                limit_rate=limit_rate,
                limit_bytes=limit,
            )
        )
        found_at = os.path.abspath(written) if written else None
        self._append("GITHUB_OUTPUT", lambda _: github.outputs(report, found_at))

    def tell_unread(self, why: Sequence[str]) -> None:
        """Annotate that some reports, each with its reason, are not in what is told of all."""
        self._annotate([github.unread(why)])

    def tell_mistakes(
        self, mistakes: Sequence[Mistake], *, list_name: str, secrets: Iterable[str] = ()
    ) -> None:
        """Show what is wrong with a list or a plan. `list_name`: how messages call it."""
        hidden = tuple(secrets)
        self._annotate(github.mistakes(mistakes, inside=self._checkout.inside, secrets=hidden))
        self._summarize(
            lambda limit: markdown.mistakes(
                mistakes,
                list_name=list_name,
                link=self._checkout.link,
                secrets=hidden,
                limit_bytes=limit,
            )
        )

    def tell_trouble(self, lines: Sequence[str], *, nothing: str) -> None:
        """Show why the command could not go on. Secrets are out of `lines` already.

        `nothing`: what holds if it has not reported anything: `Nothing was copied`.
        """
        heading = "The run did not come to its end" if self._reported else nothing
        error = github.Annotation(github.Level.ERROR, heading, "\n".join(lines))
        self._annotate([error])
        self._summarize(lambda limit: markdown.message(heading, lines, limit_bytes=limit))

    def _annotate(self, annotations: Iterable[github.Annotation]) -> None:
        if _is_file(sys.stderr):  # which no runner reads
            return
        err = Output(sys.stderr)
        for each in annotations:
            self._said[each.level] += 1
            if self._said[each.level] <= github.ANNOTATIONS_MAX:
                err.line(str(each))

    def _summarize(self, page: Callable[[int], str]) -> None:
        if self._silent:
            return
        self._append("GITHUB_STEP_SUMMARY", lambda there: page(markdown.PAGE_BYTES_MAX - there - 1))

    def _append(self, variable: str, text: Callable[[int], str]) -> None:
        """Append to the file that `variable` names; `text` is told how many bytes are there."""
        path = self._variables.get(variable)
        if not path:
            return
        try:
            with open(path, "ab") as file:
                there = file.tell()
                start = "\n" if there else ""  # whoever wrote before may have left a line open
                # A name that is no UTF-8 is written as the bytes that it has.
                file.write(f"{start}{text(there)}".encode(errors="surrogateescape"))
        except OSError as error:
            self._warn(f"{variable}: {path} cannot be written ({reason(error)})")


class Checkout:
    """The repository's files on this machine, and their pages. What a variable lacks, it lacks."""

    def __init__(self, variables: Variables) -> None:
        def valid(name: str, pattern: re.Pattern[str]) -> str | None:
            text = variables.get(name, "")
            return text if pattern.fullmatch(text) else None

        root = variables.get("GITHUB_WORKSPACE", "")
        self._root = Path(os.path.realpath(root)) if os.path.isabs(root) else None
        address = (
            valid("GITHUB_SERVER_URL", _SERVER),
            valid("GITHUB_REPOSITORY", _REPOSITORY),
            valid("GITHUB_SHA", _COMMIT),
        )
        self._pages = "{}/{}/blob/{}".format(*address) if all(address) else None
        self.inside = cache(self._inside)  # every image asks, and there is hardly more than a list

    def _inside(self, name: str) -> str | None:
        """The path of the list `name` in the repository, or None where it is not in there."""
        if self._root is None or name == STDIN or name.startswith("<"):
            return None
        try:
            path = Path(os.path.realpath(name))
        except (OSError, ValueError):  # no file has such a name
            return None
        return path.relative_to(self._root).as_posix() if path.is_relative_to(self._root) else None

    def link(self, at: Position) -> str | None:
        """The address of the page that shows a line of a list."""
        path = self.inside(at.file)
        if path is None or self._pages is None:
            return None
        return f"{self._pages}/{quote(os.fsencode(path))}#L{at.line}"


def _is_file(file: TextIO | None) -> bool:
    status = _status(file)
    return status is not None and stat.S_ISREG(status.st_mode)


def _are_one(first: TextIO | None, second: TextIO | None) -> bool:
    one, other = _status(first), _status(second)
    return one is not None and other is not None and os.path.samestat(one, other)


def _status(file: TextIO | None) -> os.stat_result | None:
    try:
        return os.fstat(file.fileno()) if file else None
    except (OSError, ValueError):  # nothing of the system's: a test, or somebody's buffer
        return None
