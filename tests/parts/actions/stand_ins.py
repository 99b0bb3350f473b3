"""What stands in for the actions that workflows use: functions of their inputs.

After actions/toolkit and actions/upload-artifact v4 to v7, as far as files and names go.
"""

from __future__ import annotations

import fnmatch
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from parts.actions.files import WorkflowRefused

_LEFT_OUT = (
    ".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", ".coverage*", "*.egg-info", "dist",
)  # fmt: skip
_CHECKOUT = {"persist-credentials", "fetch-depth", "show-progress", "ref", "lfs", "clean"}
_PYTHON = {"python-version", "python-version-file", "cache", "cache-dependency-path"}
_UPLOAD = {
    "name", "path", "if-no-files-found", "retention-days", "compression-level", "overwrite",
    "include-hidden-files",
}  # fmt: skip
_DOWNLOAD = {"name", "pattern", "path", "merge-multiple"}
_NOT_IN_NAMES = re.compile(r'["\\:<>|*?\r\n/]')
_NOT_IN_PATHS = re.compile(r'["\\:<>|*?\r\n]')
_GLOB = re.compile(r"[*?\[]")


class StepFailed(Exception):
    """A stand-in fails its step with this message, as the action would."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A step's call of an action. `write` takes a line of output, which may be a command."""

    uses: str
    inputs: Mapping[str, str]
    workspace: Path
    environment: Mapping[str, str]
    write: Callable[[str], None]

    def known(self, names: Iterable[str]) -> Mapping[str, str]:
        """The inputs. Raises WorkflowRefused if there are others than `names`."""
        if unknown := self.inputs.keys() - set(names):
            raise WorkflowRefused(f"{self.uses}: {', '.join(unknown)} is unknown or not modelled")
        return self.inputs


StandIn: TypeAlias = Callable[[Call], Mapping[str, str] | None]


def built_in(
    source: Path, edit: Callable[[Path], None] | None, artifacts: Artifacts
) -> dict[str, StandIn]:
    """The stand-ins that every run has: for checkout, Python, and artifacts."""

    def checkout(call: Call) -> None:
        call.known(_CHECKOUT)
        ignore = shutil.ignore_patterns(*_LEFT_OUT)
        shutil.copytree(source, call.workspace, ignore=ignore, symlinks=True, dirs_exist_ok=True)
        if edit is not None:
            edit(call.workspace)

    def setup_python(call: Call) -> Mapping[str, str]:
        call.known(_PYTHON)
        return {"python-path": sys.executable, "python-version": platform.python_version()}

    return {
        "actions/checkout": checkout,
        "actions/setup-python": setup_python,
        "actions/upload-artifact": artifacts.upload,
        "actions/download-artifact": artifacts.download,
    }


class Artifacts:
    """The artifacts of one run, each a folder of `folder`; they outlive its jobs and attempts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True)
        self._earlier: set[str] = set()  # of earlier attempts
        self._twice: set[str] = set()

    def begin_attempt(self) -> None:
        """What is there by now is an earlier attempt's."""
        self._earlier = set(self.paths)

    @property
    def paths(self) -> dict[str, Path]:
        return {path.name: path for path in sorted(self._folder.iterdir())}

    def upload(self, call: Call) -> Mapping[str, str] | None:
        """Stand in for actions/upload-artifact."""
        inputs = call.known(_UPLOAD)
        name = inputs.get("name") or "artifact"
        if not inputs.get("path", "").strip():
            raise StepFailed("Input required and not supplied: path")
        if _NOT_IN_NAMES.search(name):
            raise StepFailed(f"The artifact name is not valid: {name}.")
        hidden = inputs.get("include-hidden-files") == "true"
        files, root = _found(inputs["path"], call.workspace, hidden=hidden)
        if not files:
            _nothing_found(call)
            return None
        if wrong := [f for f in files if _NOT_IN_PATHS.search(str(f.relative_to(root)))]:
            raise StepFailed(f"The path for one of the files in artifact is not valid: {wrong[0]}.")
        target = self._folder / name
        if target.exists():
            if name in self._earlier:
                self._twice.add(name)
            elif inputs.get("overwrite") != "true":
                raise StepFailed(
                    "Failed to CreateArtifact: Received non-retryable error: Failed request: (409) "
                    "Conflict: an artifact with this name already exists on the workflow run"
                )
            shutil.rmtree(target)
        for file in files:
            to = target / file.relative_to(root)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, to)
        return {"artifact-id": str(len(self.paths))}

    def download(self, call: Call) -> Mapping[str, str]:
        """Stand in for actions/download-artifact."""
        inputs = call.known(_DOWNLOAD)
        to = call.workspace / os.path.expanduser(inputs.get("path", ""))
        if name := inputs.get("name"):
            if name not in self.paths:
                raise StepFailed(
                    f"Unable to download artifact(s): Artifact not found for name: {name}"
                )
            self._check_single([name])
            shutil.copytree(self.paths[name], to, dirs_exist_ok=True)
            return {"download-path": str(to)}
        pattern = inputs.get("pattern") or "*"
        found = {n: path for n, path in self.paths.items() if fnmatch.fnmatchcase(n, pattern)}
        self._check_single(found)
        # As its source has it: a single artifact gets no folder of its own.
        merged = inputs.get("merge-multiple") == "true" or len(found) == 1
        for name, path in found.items():
            shutil.copytree(path, to if merged else to / name, dirs_exist_ok=True)
        return {"download-path": str(to)}

    def _check_single(self, names: Iterable[str]) -> None:
        """Refuse what may be the old one: ids do not grow, and `overwrite` may not find it.

        See actions/upload-artifact#571 and AMD-AGI/Hyperloom#1502.
        """
        if twice := self._twice.intersection(names):
            raise WorkflowRefused(f"two attempts have left {', '.join(twice)}: which one is got?")


def _nothing_found(call: Call) -> None:
    said = f"No files were found with the provided path: {call.inputs['path']}. "
    said += "No artifacts will be uploaded."
    match call.inputs.get("if-no-files-found") or "warn":
        case "warn":
            call.write(f"::warning::{said.replace('%', '%25').replace(chr(10), '%0A')}")
        case "ignore":
            call.write(said)
        case "error":
            raise StepFailed(said)
        case other:
            raise StepFailed(f"Unrecognized if-no-files-found input. Provided: {other}")


def _found(patterns: str, workspace: Path, *, hidden: bool) -> tuple[list[Path], Path]:
    """The files that `patterns` name, and the folder that becomes the artifact's root."""
    files: dict[Path, None] = {}
    searched: list[Path] = []
    for line in map(str.strip, patterns.splitlines()):
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!").rstrip("/")
        path = Path(os.path.normpath(workspace / os.path.expanduser(pattern)))
        matches = _files(path)
        if line.startswith("!"):
            files = {file: None for file in files if file not in matches}
        else:
            searched.append(_without_glob(path))
            files.update(dict.fromkeys(matches))
    top = [p for p in dict.fromkeys(searched) if not any(q in p.parents for q in searched)]
    shown = [f for f in files if hidden or not _is_hidden(f, top)]
    if len(top) > 1:
        return shown, Path(os.path.commonpath(top))
    root = top[0] if top else workspace
    return shown, root.parent if files.keys() == {root} else root


def _files(path: Path) -> set[Path]:
    root = _without_glob(path)
    found = [path] if path == root else root.glob(str(path.relative_to(root)))
    below = (inner for p in found for inner in ([p] if p.is_file() else p.rglob("*")))
    return {inner for inner in below if inner.is_file()}


def _without_glob(path: Path) -> Path:
    parts = path.parts
    plain = next((i for i, part in enumerate(parts) if _GLOB.search(part)), len(parts))
    return Path(*parts[:plain])


def _is_hidden(file: Path, roots: Iterable[Path]) -> bool:
    # The searched path's own name counts, the folders above it do not.
    root = next((r for r in roots if r in file.parents), file.parent)
    return any(part.startswith(".") for part in (root.name, *file.relative_to(root).parts))
