"""Names that are resolved otherwise than they look."""

from __future__ import annotations

import socket
from typing import Any

import pytest


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> str:
    """A name that looks like one on the internet, and is resolved to this machine."""
    real = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        return real("127.0.0.1" if host == "inside.example" else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return "inside.example"
