"""What every test of the command line needs."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def nobodys_workflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the workflow that runs these tests: what they tell must not get on its page."""
    for name in os.environ:
        if name.startswith("GITHUB_"):
            monkeypatch.delenv(name)
