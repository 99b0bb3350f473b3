"""What an engine's words mean: its error texts, in one ordered table, as our errors.

Engines answer every failure of a registry in prose, and mostly with status 500, so the text is
matched; the status is at most a hint. The texts were observed on Docker 20.10, 26 and 28 with both
image stores, and on podman 4.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from asyncsync.model import errors
from asyncsync.model.errors import CopyError, Where
from asyncsync.model.foreign import shown
from asyncsync.model.job import Step
from asyncsync.model.reference import Reference

_TEXT_MAX = 16 * 1024  # characters that are searched; a longer message says it at its start
_ANSWERED = re.compile(r"(?:status(?: code)?:? |: )(5\d\d)\b")
# Names, addresses, ids: their letters and figures are not the engine's words.
_FOREIGN = re.compile(
    r"https?://[^\s\"]*[^\s\":]"
    r"|\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?|\[[0-9a-f:]+\](?::\d+)?"
    r"|[0-9a-f]{12,}"
)
_NO_SPACE = "no space left on device|disk quota exceeded"
# Before it, a registry speaks: an engine puts this before what it quotes, mostly the code of an
# error document. (containerd writes `: unknown` too, but behind its own errors.)
_QUOTES = re.compile(
    r"error from registry|response body|http status|unexpected status|status ?code|\b"
    r"(?:unknown|unsupported|unauthorized|denied|unavailable|toomanyrequests|invalid|unverified): "
)
_QUOTE_OR_LINE = re.compile(r"[\"\n]")
# What a program of the engine's own machine may not do says nothing about a registry.
_LOCAL_DENIED = "permission denied"


@dataclass(frozen=True, slots=True)
class _Rule:
    """Texts that mean one thing. `says` is completed with name, tag and registry.

    `quoted` False: the engine's own text would only say it again. `away`: nobody is there at all.
    `advice`: what helps in place of what helps most of its kind.
    """

    texts: str
    kind: type[CopyError]
    says: str
    transient: bool = False
    ends_run: bool = False
    quoted: bool = True
    away: bool = False
    advice: str = ""

    def matches(self, text: str) -> bool:
        return re.search(self.texts, text) is not None


# Of a proxy that does not let it through, Go's client says the reason alone, behind the request.
_BEHIND_REQUEST = r"\b(?:get|head|post|put|patch|delete) \"…\": "
_PROXYS = (
    "Correct the engine's own proxy (HTTPS_PROXY and NO_PROXY of its service, or proxies in its "
    "daemon.json), or copy without an engine: --via direct."
)

# The order matters: a full disk is named inside a failed pull, an untrusted certificate inside a
# failed request, a refused login inside “not found”.
_RULES = (
    _Rule(_NO_SPACE, errors.DiskFull, "the engine's disk is full", ends_run=True, quoted=False),
    # Before all that the same words mean where a registry says them.
    _Rule(
        "proxyconnect ",
        errors.RegistryUnavailable,
        "the engine's proxy before {registry} cannot be asked",
        transient=True,
        advice=_PROXYS,
    ),
    _Rule(
        _BEHIND_REQUEST + "(?:proxy authentication required|forbidden)$",
        errors.RegistryUnavailable,
        "the engine's proxy before {registry} does not let it through",
        advice=_PROXYS,
    ),
    _Rule(
        _BEHIND_REQUEST
        + "(?:internal server error|bad gateway|service unavailable|gateway time-?out)$",
        errors.RegistryUnavailable,
        "the engine's proxy before {registry} does not reach it",
        transient=True,
        advice=_PROXYS,
    ),
    _Rule(
        "x509:|http response to https client|tls: failed to verify|certificate signed by unknown",
        errors.TlsError,
        "the engine does not trust {registry}",
    ),
    _Rule(
        "toomanyrequests|too many requests|pull rate limit|rate limit exceeded",
        errors.RateLimited,
        "{registry} asks us to slow down (429 Too Many Requests)",
        transient=True,
    ),
    # Before “denied”, which may come with it.
    _Rule("will exceed|quota exceeded", errors.TargetFull, "{registry} has no room left"),
    # Before “denied”: an engine says it of a missing login too.
    _Rule(
        "no basic auth credentials|unauthorized|authentication required|401 unauthorized",
        errors.AuthenticationFailed,
        "{registry} refuses us (401 Unauthorized)",
    ),
    _Rule(
        "denied|403 forbidden|: 403 |insufficient_scope",
        errors.PermissionDenied,
        "{registry} denies access to {name}",
    ),
    _Rule(
        "no matching manifest|no match for platform|does not provide the specified platform|"
        "does not match the specified platform|no image found in image index|"
        "platform .{1,80} does not match",
        errors.NoSuchPlatform,
        "{name}:{identifier} does not exist for the platform asked for",
        quoted=False,
    ),
    # A bare “no such host” is a registry that nobody can find today; “not found” is below it.
    _Rule(
        "no such host|server misbehaving|temporary failure in name resolution",
        errors.RegistryUnavailable,
        "the engine cannot find the host {registry}",
        transient=True,
        quoted=False,
        away=True,
    ),
    _Rule(
        "schema version 1|schema 1|schema1|prettyjws",
        errors.UnsupportedManifest,
        "{name}:{identifier} is in the old Docker schema 1 format",
    ),
    _Rule(
        "missing content: content digest",
        errors.UnsupportedManifest,
        "this engine cannot push one platform of {name}:{identifier} unless the source registry "
        "can be asked from here",
    ),
    _Rule(
        "manifest invalid|tag invalid|manifest_invalid|immutable|unsupported media type|"
        "request entity too large",
        errors.RefusedByTarget,
        "{registry} refuses {name}:{identifier}",
    ),
    _Rule(
        r"http 405\b|: 405 |the operation is unsupported",
        errors.TargetClosed,
        "{registry} takes no pushes",
    ),
    _Rule(
        "manifest unknown|manifest_unknown|name unknown|name_unknown|not found|"
        "repository does not exist",
        errors.NotFound,
        "{name} has no {what} {identifier}",
        quoted=False,
    ),
    _Rule(
        "invalid reference|invalid tag|lowercase|invalid component|cannot push a digest",
        errors.RefusedByTarget,
        "the engine does not take the name {name}:{identifier}",
    ),
    _Rule(
        "wrong diff id|don't match image configuration|failed to verify|digest mismatch|"
        "filesystem layer verification failed",
        errors.DigestMismatch,
        "what {registry} sent is not what it named",
        transient=True,
    ),
    _Rule(
        "connection refused",
        errors.RegistryUnavailable,
        "nothing listens at {registry} (connection refused)",
        transient=True,
        quoted=False,
        away=True,
    ),
    _Rule(
        "connection reset|broken pipe|unexpected eof|i/o timeout|timeout exceeded|client.timeout|"
        "deadline exceeded|no route to host|network is unreachable|tls handshake timeout|"
        r"use of closed network connection|: eof$|error from registry: unavailable",
        errors.RegistryUnavailable,
        "the connection to {registry} broke",
        transient=True,
    ),
)
_AT_TARGET = frozenset({Step.PUSH, Step.VERIFY})
_OF_PUSHES = (errors.TargetClosed, errors.TargetFull)
# On a containerd store and on podman the local image is missing in these words, on a classic
# engine in the others; all of them speak of the engine, none of a registry.
_LOCAL_MISSING = re.compile(
    r"no such image|tag does not exist|image does not exist|does not exist locally|"
    r"image not known|image \"[^\"]*\": not found|reference does not exist"
)


def is_local_missing(text: str) -> bool:
    """Whether `text` says that the engine itself has no such image (any more)."""
    return _LOCAL_MISSING.search(text[:_TEXT_MAX].lower()) is not None


def classify(text: str, step: Step, ref: Reference, secrets: Iterable[str] = ()) -> CopyError:
    """The engine's `text` about `ref` in `step`, as an error of ours that names the registry.

    What is in no table comes back as a plain CopyError, which is tried once more.
    """
    registry = str(ref.place)
    where, said = Where(registry), f"; the engine says: “{shown(text, secrets=secrets, limit=300)}”"
    plain = _without(ref, text[:_TEXT_MAX].lower())
    for rule in _RULES:
        if not rule.matches(plain):
            continue
        if rule.kind in _OF_PUSHES and step is not Step.PUSH:
            continue  # a quota of pulls, or of the engine's own
        if rule.kind is errors.DiskFull and step in _AT_TARGET:  # it is the registry's disk then
            return errors.TargetFull(f"{registry} has no room left{said}", where)
        if rule.kind is errors.DiskFull and _QUOTES.search(_before_no_space(plain)):
            continue
        words = rule.says.format(
            registry=registry,
            name=ref.name,
            identifier=ref.identifier,
            what="manifest" if ref.digest else "tag",
        )
        what = f"{words}{said}" if rule.quoted else words
        # Where it names no file, it may still be somebody else's word (in a config, say): then this
        # image fails, and the others are tried.
        ends_run = rule.ends_run and _names_a_file(_before_no_space(plain))
        error = rule.kind(what, where, rule.transient, ends_run).advising(rule.advice)
        return error.being_away() if rule.away else error
    if status := _ANSWERED.search(plain):
        what = f"{registry} answered {status[1]}{said}"
        return errors.RegistryUnavailable(what, where, transient=True)
    return CopyError(f"{step} failed{said}", where, transient=True)


def _before_no_space(text: str) -> str:
    return re.split(_NO_SPACE, text, maxsplit=1)[0]


def _names_a_file(before: str) -> bool:
    """Whether it ends in what the engine could not write, as in `write /var/lib/docker/tmp/x: `."""
    return before.endswith(": ") and " /" in _QUOTE_OR_LINE.split(before)[-1]


def _without(ref: Reference, text: str) -> str:
    """The text without names and addresses, which may hold any word of the table."""
    names = {str(ref), f"{ref.name}:{ref.tag}", ref.name, ref.familiar, str(ref.place)}
    if "/" in ref.repository:  # else it is one word, and may be one of the engine's own
        names.add(ref.repository)
    names |= {f"tag={ref.tag}", f":{ref.tag} "}
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name.lower(), "…")
    return _FOREIGN.sub("…", text).replace(_LOCAL_DENIED, "not allowed")
