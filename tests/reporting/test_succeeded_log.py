"""succeeded.log names what is in place, as soon as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from asyncsync.model.digest import Digest
from asyncsync.model.outcome import Outcome, Status
from asyncsync.reporting.succeeded_log import SucceededLog


def test_each_image_in_place_is_one_line_at_once(
    ended: Callable[..., Outcome], tmp_path: Path
) -> None:
    path = tmp_path / "succeeded.log"
    digest = Digest.of(b"nginx:1.27")
    with path.open("w") as file:
        log = SucceededLog(file, lambda: None)
        log.tell(ended("nginx:1.27", Status.COPIED))
        # read while it is open: a run that is killed later has told this already
        assert path.read_text() == (
            f"docker.io/library/nginx:1.27 -> r.example/team/nginx:1.27@{digest}\n"
        )
        log.tell(ended("ghcr.io/a/b:1", Status.UNCHANGED))
    assert path.read_text().splitlines()[1] == (
        f"ghcr.io/a/b:1 -> r.example/team/b:1@{Digest.of(b'ghcr.io/a/b:1')}"
    )


def test_what_is_not_in_place_is_not_written(ended: Callable[..., Outcome], tmp_path: Path) -> None:
    path = tmp_path / "succeeded.log"
    with path.open("w") as file:
        for status in (Status.FAILED, Status.CANCELLED, Status.NOT_STARTED):
            SucceededLog(file, lambda: None).tell(ended("nginx:1", status))
    assert path.read_text() == ""
