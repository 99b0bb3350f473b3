"""docs/report.md is true: it names the fields of real documents, no others, and what they hold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from parts.commands import Command, write_list
from parts.registry import Registry

from asyncsync.model import errors
from asyncsync.model.job import Step
from asyncsync.model.outcome import Status

TEXT = (Path(__file__).parent.parent / "docs" / "report.md").read_text()
KINDS = {
    "text": str, "whole number": int, "number": float, "true or false": bool, "object": dict,
    "list": list,
}  # fmt: skip


def rows(heading: str, *, number: int = 0) -> list[list[str]]:
    """The cells of the table with this first column; the first of them is code."""
    table = re.findall(rf"^\| {heading} \|.*?\n\n", f"{TEXT}\n\n", re.MULTILINE | re.DOTALL)[number]
    cells = [[each.strip() for each in row.split("|")[1:-1]] for row in table.splitlines()[2:-1]]
    return [[first.strip("`"), *others] for first, *others in cells]


def fields(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Each field of a document with what it holds, as often as it stands there."""
    if isinstance(value, dict):
        for key, held in value.items():
            yield f"{name}.{key}".lstrip("."), held
            yield from fields(held, f"{name}.{key}".lstrip("."))
    elif isinstance(value, list):
        for each in value:
            yield from fields(each, f"{name}[]")


def check(document: str, told: list[list[str]]) -> None:
    """A table names the document's fields in their order, the type of each and if it is null."""
    found = list(fields(json.loads(document)))
    assert [row[0] for row in told] == list(dict.fromkeys(name for name, _ in found))
    of_kind = {name: (KINDS[kind], null != "–") for name, kind, _, null in told}
    for name, held in found:
        kind, may_be_null = of_kind[name]
        assert may_be_null if held is None else type(held) is kind, (name, held)


def test_every_field_of_a_report_is_in_the_table_and_no_other(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    registry.put_image(f"{namespace}/app", "1")
    at = f"{registry.host}/{namespace}"
    write_list(asyncsync_command.folder, f"{at}/gone:1", f"{at}/app:1")
    done = asyncsync_command("sync", "--to", own_registry.host, "--report", "r.json")
    assert done.returncode == 1, done.stderr
    check((asyncsync_command.folder / "r.json").read_text(), rows("field"))


def test_every_field_of_a_plan_is_in_the_table_and_no_other(asyncsync_command: Command) -> None:
    write_list(asyncsync_command.folder, "app:1", "app:1")
    done = asyncsync_command("plan", "--to", "r.example", "--output", "json")
    check(done.stdout, rows("field", number=1))


def test_every_status_is_in_the_table_and_whether_it_is_in_place() -> None:
    there = {status: "yes" if status in {"copied", "unchanged"} else "no" for status in Status}
    assert {row[0]: row[1] for row in rows("status")} == there


def test_every_kind_of_error_and_every_step_is_named() -> None:
    kinds = [each for each in vars(errors).values() if isinstance(each, type)]
    copy_errors = {kind.__name__ for kind in kinds if issubclass(kind, errors.CopyError)}
    assert {row[0] for row in rows("kind")} == copy_errors
    (steps,) = (row[2] for row in rows("field") if row[0] == "outcomes[].error.step")
    assert re.findall(r"`(\w+)`", steps) == list(Step)


def test_its_links_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.*)", TEXT, re.MULTILINE)
    there = {heading.lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\(#([\w-]+)\)", TEXT)) <= there
