"""How a command ends when it cannot go on: a message that a person can act on, and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from types import CodeType
from typing import TYPE_CHECKING

import click

from asyncsync.cli.output import Output
from asyncsync.cli.signals import Interruption

if TYPE_CHECKING:
    from asyncsync.cli.github import Page
    from asyncsync.model.errors import AsyncsyncError

WRONG, FAILED = 2, 1  # exit codes: nothing was moved; something is not in place


class Ending:
    """What ends a command is told here; a command may set how, once it knows."""

    def __init__(self) -> None:
        self.interruption = Interruption()
        self.tell: Callable[[str], None] = Output(sys.stderr).line
        self.warn: Callable[[str], None] = self.tell
        self.list_name = "the list"
        self.nothing = "Nothing was copied"  # what holds if the command does not get to its work
        self.secrets: tuple[str, ...] = ()
        self.traceback = False

    def name_list(self, name: str) -> None:
        """Say how messages call the list."""
        from asyncsync.model.foreign import shown

        self.list_name = "stdin" if name == "-" else shown(name)

    @cached_property
    def page(self) -> Page | None:
        """What GitHub Actions shows of the command; None where it is not run by it."""
        if os.environ.get("GITHUB_ACTIONS") != "true":
            return None
        from asyncsync.cli.github import Page

        return Page(os.environ, lambda line: self.warn(line))

    @contextmanager
    def told(self) -> Iterator[None]:
        """Turn whatever leaves the block into words and an exit code."""
        try:
            yield
        except click.exceptions.Exit:
            raise
        except click.ClickException as error:  # it shows itself, but not on a page
            self._show(error, [error.format_message()])
            raise
        except KeyboardInterrupt:
            self.tell(f"Stopped. {self.nothing}.")
            raise click.exceptions.Exit(self.interruption.exit_code) from None
        except Exception as error:  # the last place: no traceback reaches a user
            if isinstance(error, OSError) and _came_through(error, click.echo.__code__):
                raise  # out of the parsing, before anything began: `main` tells it
            raise click.exceptions.Exit(self._failed(error)) from None
        finally:
            self.interruption.over()

    def unwritten(self, error: OSError) -> int:
        """Tell that click could not write a help or what is wrong; give the exit code."""
        for stream in (sys.stdout, sys.stderr):
            Output(stream).flush()  # or Python tries again at its end, and complains
        shows = click.ClickException.show.__code__, click.UsageError.show.__code__
        if _came_through(error, *shows):  # on stderr, so there is nowhere to tell it
            return WRONG
        self.tell(f"stdout cannot be written ({error.strerror}).")
        return FAILED

    def _failed(self, error: Exception) -> int:
        from asyncsync.model.errors import AsyncsyncError

        if isinstance(error, AsyncsyncError):
            words = list(self._words(error))
            for line in words:
                self.tell(line)
            self._show(error, words)
            return WRONG
        more = "what follows" if self.traceback else "what the same command tells with -vv"
        bug = f"This is a bug in asyncsync ({type(error).__name__}). Please report it, with {more}."
        self.tell(bug)
        if self.traceback:
            self._trace(error)
        self._show(error, [bug])
        return FAILED

    def _show(self, error: Exception, words: list[str]) -> None:
        from asyncsync.model.errors import ListError, PlanError

        if self.page is None:
            return
        if isinstance(error, ListError | PlanError):
            self.page.tell_mistakes(error.mistakes, list_name=self.list_name, secrets=self.secrets)
        else:
            self.page.tell_trouble(words, nothing=self.nothing)

    def _words(self, error: AsyncsyncError) -> Iterator[str]:
        from asyncsync.model.errors import ListError, PlanError
        from asyncsync.model.foreign import shown
        from asyncsync.reporting.units import count

        for line in str(error).split("\n"):
            indent = "  " if line.startswith(" ") else ""
            yield indent + shown(line, secrets=self.secrets)
        if isinstance(error, ListError | PlanError):
            mistakes = count(len(error.mistakes), "mistake")
            yield f"{mistakes} in {self.list_name}. Nothing was copied."

    def _trace(self, error: BaseException) -> None:
        """Where it happened, without anybody's values: frames, no locals, no foreign repr."""
        import traceback

        from asyncsync.model.foreign import shown

        for frame in traceback.extract_tb(error.__traceback__):
            self.tell(f"  {frame.filename}:{frame.lineno} in {frame.name}")
        self.tell(f"  {type(error).__name__}: {shown(str(error), secrets=self.secrets)}")
        if error.__cause__ is not None:
            self._trace(error.__cause__)


def _came_through(error: OSError, *functions: CodeType) -> bool:
    """Whether one of these functions was under way: click has no type of its own for it."""
    from traceback import walk_tb

    return any(frame.f_code in functions for frame, _ in walk_tb(error.__traceback__))
