"""What an answer means: the errors of registry and token server as ours. Pure.

The text of an answer is the registry's own; it is shown through `shown`, without our secrets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from multidict import CIMultiDictProxy
from yarl import URL

from asyncsync.model.digest import Digest
from asyncsync.model.errors import (
    BlobsUnknown,
    CopyError,
    NotFound,
    PermissionDenied,
    RateLimited,
    RefusedByTarget,
    RegistryUnavailable,
    TargetClosed,
    TargetFull,
    TypeRefused,
    Where,
)
from asyncsync.model.foreign import shown, without
from asyncsync.model.reference import Reference
from asyncsync.retrying import RETRY_AFTER_SECONDS_MAX
from asyncsync.stores.registry.quirks import quirks
from asyncsync.stores.registry.rates import Quota, quota

RETRY_AFTER_MAX = 24 * 3600.0  # seconds; how much of it is obeyed, the retry policy decides
_TEXT_MAX = 300  # characters of a registry's own text
_PASSING = frozenset({408, 425, 500, 502, 503, 504, *range(520, 528)})  # 52x: Cloudflare's own
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_DIGESTS_BYTES_MAX = 64 * 1024
# Texts that tell a refused type from a refused account: Aliyun, Huawei SWR, zot, older Quay.
_TYPE_REFUSED = re.compile(
    r"unknown manifest class|fail to parse 'manifest|media ?type|unsupported manifest", re.I
)
# A disk that is full: in distribution's words, and in its `detail`, which may have the number of
# the system's error alone (ENOSPC, EDQUOT).
_NO_SPACE = re.compile(r'no space left|disk quota exceeded|"Err": ?(?:28|122)\b', re.I)
_NO_QUOTA = re.compile(r"will exceed|quota|storage limit", re.I)  # Harbor, Quay, GitLab
_IMMUTABLE = re.compile(r"immutable|cannot be overwritten", re.I)  # Harbor, ECR
_RULED_OUT = frozenset({405, 409, 412, 413})
_BODY_TOO_LARGE = (
    "Raise its limit on bodies, or that of the proxy before it (nginx: client_max_body_size)"
)
_TAG_STAYS = "Remove the tag there or loosen that rule, or name another tag in the list"
_NAME_REFUSED = frozenset({"NAME_INVALID", "TAG_INVALID", "DIGEST_INVALID", "SIZE_INVALID"})
# Each reads on from where it has come to, or a page of `<` alone takes seconds.
_HEAD = re.compile(r".*?</head\s*>", re.S | re.I)
_TAGS = re.compile(r"<(style|script)\b.*?(?:</\1\s*>|\Z)|<[^<>]*>", re.S | re.I)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, its body read. `cut`: the body was longer than we take, and is not whole."""

    status: int
    url: URL
    headers: CIMultiDictProxy[str] = field(repr=False)
    body: bytes = field(repr=False, default=b"")
    cut: bool = False

    @property
    def line(self) -> str:
        """Status and its name, as `503 Service Unavailable`; never the server's own words."""
        return line_of(self.status)


def line_of(status: int) -> str:
    """A status and its name."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def failure(
    answer: Answer, registry: str, *, speaker: str, secrets: Iterable[str], now: float
) -> CopyError:
    """The error that an answer is. `speaker` is who gave it; `now` is wall time (Retry-After)."""
    words = said(answer, secrets)
    where, after = Where(registry), retry_after(answer.headers.get("Retry-After"), now)
    what = f"{speaker} answered {answer.line}{words}"
    if answer.status in (401, 403):
        return PermissionDenied(f"{speaker} refuses us ({answer.line}){words}", where)
    if answer.status == 404:
        return NotFound(what, where)
    if answer.status == 429:
        # Docker Hub has two: a quota that is spent for hours, told in JSON, and a bare one that
        # only slows down (“Docker Hub pull usage and limits”). A cache before it passes on headers.
        spent = quirks(registry).quota_by_429 and "TOOMANYREQUESTS" in codes(answer)
        spent = spent or (after is None and _outlasts_retries(quota(answer.headers)))
        return RateLimited(what, where, transient=not spent, retry_after=after)
    if answer.status in _PASSING:
        return RegistryUnavailable(what, where, transient=True, retry_after=after)
    if answer.status >= 500 or answer.status == 407:
        return RegistryUnavailable(what, where)
    return CopyError(what, where)


def _outlasts_retries(left: Quota | None) -> bool:
    """Whether nothing is left, in a window that is longer than any retry waits."""
    window = (left.window_seconds or 0.0) if left and not left.remaining else 0.0
    return window > RETRY_AFTER_SECONDS_MAX


def push_failure(
    answer: Answer, registry: str, *, speaker: str, secrets: Iterable[str], now: float
) -> CopyError:
    """The error that an answer to a push is: `failure`, and what only a target can say."""
    error = failure(answer, registry, speaker=speaker, secrets=secrets, now=now)
    if no_room(answer):
        what = f"{speaker} has no room left ({answer.line}){said(answer, secrets)}"
        return TargetFull(what, error.where)
    if _passes(answer):
        return error
    if _IMMUTABLE.search(_words(answer)):
        return RefusedByTarget(f"{error.what}. {_TAG_STAYS}", error.where)
    if answer.status not in _RULED_OUT:
        return error
    if answer.status == 405:
        return TargetClosed(
            f"{speaker} takes no pushes ({answer.line}){said(answer, secrets)}", error.where
        )
    hint = f". {_BODY_TOO_LARGE}" if answer.status == 413 else ""
    return RefusedByTarget(f"{error.what}{hint}", error.where)


def no_room(answer: Answer) -> bool:
    """Whether a target says that its disk is full, or its quota used up.

    What only passes may speak of a quota of requests, but not of space.
    """
    if answer.status < 400:
        return False
    words = _words(answer)
    if answer.status == 507 or _NO_SPACE.search(words):
        return True
    return _NO_QUOTA.search(words) is not None and (answer.status == 500 or not _passes(answer))


def _passes(answer: Answer) -> bool:
    return answer.status == 429 or answer.status in _PASSING


def _words(answer: Answer) -> str:
    """All that it says, but names that were asked for: a repository may be called `quota`."""
    is_document = _document(answer.body) is not None  # else a page, of which only the text counts
    text = answer.body.decode(errors="replace") if is_document else told(answer, ())
    for name in answer.url.parts:
        if _NO_QUOTA.search(name) or _IMMUTABLE.search(name):
            text = text.replace(name, "…")
    return text


def not_found(answer: Answer, ref: Reference) -> NotFound:
    """What a 404 to a manifest means."""
    where = Where(str(ref.place))
    if "NAME_UNKNOWN" in codes(answer):
        return NotFound(f"{ref.place} has no repository {ref.repository}", where)
    kind = "digest" if ref.digest else "tag"
    return NotFound(f"{ref.name} has no {kind} {ref.identifier}", where)


def blob_missing(ref: Reference) -> NotFound:
    """What a 404 to a blob means."""
    what = f"{ref.place} does not have the blob {ref.digest} that {ref.repository} is made of"
    return NotFound(what, Where(str(ref.place)))


def refusal(answer: Answer, otherwise: CopyError) -> CopyError:
    """What it means that a registry takes no manifest; `otherwise` where it means nothing more."""
    named, what, where = codes(answer), otherwise.what, otherwise.where
    if "MANIFEST_BLOB_UNKNOWN" in named:
        return BlobsUnknown(what, where).naming(_digests_in(answer.body))
    if isinstance(otherwise, TargetFull) or (answer.status == 404 and "NAME_UNKNOWN" in named):
        return otherwise
    if _TYPE_REFUSED.search(told(answer, ())):
        return TypeRefused(what, where)
    if isinstance(otherwise, RefusedByTarget) or _passes(answer):
        return otherwise
    if named & _NAME_REFUSED:
        return RefusedByTarget(what, where)
    return TypeRefused(what, where) if answer.status in (400, 415, 422) else otherwise


def _digests_in(body: bytes) -> tuple[Digest, ...]:
    """Every digest in an error document: registries name what they lack in `detail`, or in text."""
    found = dict.fromkeys(_DIGEST.findall(body[:_DIGESTS_BYTES_MAX].decode(errors="replace")))
    return tuple(map(Digest.parse, found))


def codes(answer: Answer) -> frozenset[str]:
    """The codes in a registry's error document (OCI distribution-spec, “Error Codes”)."""
    return frozenset(code for code, _ in _errors(_document(answer.body)))


def is_registrys(answer: Answer) -> bool:
    """Whether it shows that a registry gave it, and not a proxy that looks into TLS."""
    return "Docker-Distribution-Api-Version" in answer.headers or bool(codes(answer))


def told(answer: Answer, secrets: Iterable[str]) -> str:
    """What the registry says about it in its own words: JSON's messages, or a page's text."""
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        return ""  # packed although we asked for it plain; nothing to read
    document = _document(answer.body)
    if isinstance(document, dict):
        text = "; ".join(": ".join(filter(None, pair)) for pair in _errors(document)[:3])
    else:
        # Before tags go: they may be a part of a secret.
        page = without(answer.body.decode(errors="replace"), secrets)
        head = _HEAD.match(page)
        text = _TAGS.sub(" ", page[head.end() :] if head else page)
    return shown(text, secrets=secrets, limit=_TEXT_MAX)


def said(answer: Answer, secrets: Iterable[str]) -> str:
    """The same, to stand behind what we say about it; nothing where it says nothing."""
    text = told(answer, secrets).rstrip(".")  # our own sentence goes on, or ends itself
    return f": {text}" if text else ""


def retry_after(header: str | None, now: float) -> float | None:
    """Seconds from a Retry-After: a number or a date (RFC 9110 §10.2.3), at most a day."""
    if not header:
        return None
    if re.fullmatch(r"[0-9]{1,10}", header.strip()):
        return min(float(header), RETRY_AFTER_MAX)
    try:
        at = parsedate_to_datetime(header).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(at - now, 0.0), RETRY_AFTER_MAX)


def _document(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _errors(document: Any) -> list[tuple[str, str]]:
    """Pairs of code and message: a registry's document, or a token server's or proxy's."""
    if not isinstance(document, dict):
        return []
    listed = document.get("errors")
    entries = listed if isinstance(listed, list) else [document]
    return [pair for entry in entries if isinstance(entry, dict) for pair in _pairs(entry)]


def _pairs(entry: dict[str, Any]) -> Iterator[tuple[str, str]]:
    code = _first(entry, "code", "error")
    message = _first(entry, "message", "error_description", "details", "detail")
    if code or message:
        yield code, message


def _first(entry: dict[str, Any], *names: str) -> str:
    return next((entry[name] for name in names if isinstance(entry.get(name), str)), "")
