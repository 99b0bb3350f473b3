"""A client that sends what it is told to, right or wrong, and hands back what came."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, whole."""

    status: int
    headers: Message
    body: bytes

    @property
    def codes(self) -> list[str]:
        """The codes of its error document; none if it is no such document."""
        try:
            return [each["code"] for each in json.loads(self.body)["errors"]]
        except (ValueError, KeyError, TypeError):
            return []

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def location(self) -> str:
        """Path and query of its Location."""
        at = urlsplit(self.headers["Location"])
        return f"{at.path}?{at.query}" if at.query else at.path


def ask(
    host: str,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    login: tuple[str, str] | None = None,
) -> Answer:
    """Ask once, on a connection of its own. The path goes out as it stands."""
    sent = dict(headers or {})
    if login:
        sent["Authorization"] = f"Basic {base64.b64encode(':'.join(login).encode()).decode()}"
    connection = http.client.HTTPConnection(host, timeout=30)
    try:
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()
