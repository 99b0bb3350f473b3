"""Everything that can go wrong, as a user can act on it.

AsyncsyncError
├── ListError, PlanError      a list or a plan is wrong; holds every mistake with its position
├── ConfigurationError        an option, a variable or a file of settings is wrong
├── EngineUnavailable         no engine answers at the start
├── SyncFailed                a run ended with images that are not in place; holds the report
└── CopyError                 one image was not copied: what, where, and what to do
    ├── NotFound              the registry has no such repository, tag or digest
    ├── AuthenticationFailed  it wants a login, or refuses ours
    ├── PermissionDenied      it knows us and says no
    ├── RateLimited           it wants us to ask less often
    ├── RegistryUnavailable   it does not answer, or not now
    ├── TlsError              its certificate is not trusted, or it speaks no TLS
    ├── EngineLost            the engine went away during the run
    ├── DigestMismatch        content or confirmation is not what was named
    ├── UnsupportedManifest   an image of a kind that cannot be copied this way
    ├── RefusedByTarget       the target takes no such image
    │   ├── TargetClosed      it takes no pushes at all
    │   ├── TargetFull        it has no room left, or its quota is used up
    │   ├── TypeRefused       not in this form
    │   └── BlobsUnknown      it lacks blobs that the manifest names
    ├── NoSuchPlatform        the image does not exist for the platform asked for
    ├── DiskFull              the engine has no space left
    └── TimedOut              nothing moved for too long
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from asyncsync.model.digest import Digest
from asyncsync.model.job import Step
from asyncsync.model.place import is_layout
from asyncsync.model.spec import Mistake

_MISTAKES_MAX = 1000  # told one by one; more would only say again that this is another kind of file


class AsyncsyncError(Exception):
    """Whatever asyncsync raises on purpose."""


class _Mistakes(AsyncsyncError):
    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__(tuple(mistakes))
        self.mistakes = tuple(sorted(mistakes, key=lambda mistake: mistake.at))

    def __str__(self) -> str:
        told = [str(mistake) for mistake in self.mistakes[:_MISTAKES_MAX]]
        if more := self.mistakes[_MISTAKES_MAX:]:
            told.append(str(Mistake(more[0].at, f"{len(more)} more mistakes from here on")))
        return "\n".join(told)


class ListError(_Mistakes):
    """A list cannot be read. `mistakes` has all of them, in the order of the text."""


class PlanError(_Mistakes):
    """A list can be read, but not be carried out as it stands. `mistakes` has all reasons."""


class ConfigurationError(AsyncsyncError):
    """An option, a variable or a file of settings is wrong; the message names it."""


class EngineUnavailable(AsyncsyncError):
    """No engine answers, and nothing was moved. `what` says where and why, without advice."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return (
            f"{self.what}.\n"
            "  Start Docker, point DOCKER_HOST to it, or copy without it: --via direct."
        )


@dataclass(frozen=True, slots=True)
class Where:
    """Which image, in which step, at which registry. Stores know the registry alone.

    `registry` is the text of a place: of a layout as well.
    """

    registry: str
    image: str | None = None
    step: Step | None = None

    @property
    def at_target(self) -> bool:
        """Whether the registry speaks as the target. In doubt, as where both are one, it is not."""
        if self.step in (Step.RESOLVE, Step.COPY):  # which speak to both
            return self.image is not None and not self.is_images_own
        return self.step in (Step.PUSH, Step.VERIFY)

    @property
    def is_images_own(self) -> bool:
        """Whether the image is from this registry; the target may be the same one."""
        within = f"{self.registry}{':' if self.is_layout else '/'}"
        return self.image is not None and self.image.startswith(within)

    @property
    def is_layout(self) -> bool:
        """Whether it is no registry, but files."""
        return is_layout(self.registry)


class CopyError(AsyncsyncError):
    """One image was not copied. `str()` says what, where and what to do, and holds no secret.

    `transient`: the same request may succeed later. `ends_run`: no other image can succeed either.
    `retry_after`: seconds that the registry asked us to wait. An instance of this very class is
    a failure that we could not classify.
    """

    advised = ""  # what helps here besides or in place of its kind's advice; some kinds read it
    # Nobody is there, or it has never answered: so it is the same for all who ask that registry.
    away = False

    def __init__(
        self,
        what: str,
        where: Where,
        transient: bool = False,  # noqa: FBT001, FBT002  positional: pickle rebuilds from `args`
        ends_run: bool = False,  # noqa: FBT001, FBT002
        retry_after: float | None = None,
    ) -> None:
        super().__init__(what, where, transient, ends_run, retry_after)
        self.what, self.where, self.transient, self.ends_run = what, where, transient, ends_run
        self.retry_after = retry_after

    def __str__(self) -> str:
        step = f"{self.where.step} at " if self.where.step else ""
        image = f"{self.where.image}: " if self.where.image else ""
        return f"{image}{self.what} ({step}{self.where.registry}). {self.advice()}"

    def located(self, image: str, step: Step) -> Self:
        """The same error, with image and step, which only the transport knows."""
        return self._made(where=replace(self.where, image=image, step=step))

    def saying(self, what: str) -> Self:
        """The same error, in other words."""
        return self._made(what=what)

    def waiting(self, seconds: float) -> Self:
        """The same error, where so many seconds are left to wait."""
        return self._made(retry_after=seconds)

    def ending_run(self) -> Self:
        """The same error, as one that no other image can escape either."""
        return self._made(ends_run=True)

    def passing(self) -> Self:
        """The same error, as one that the same request may not meet again."""
        return self._made(transient=True)

    def given_up(self) -> Self:
        """The same error, as one that somebody else has tried again already."""
        return self._made(transient=False)

    def anew(self) -> Self:
        """The same error, as an object of its own."""
        return self._made()

    def _made(self, **other: Any) -> Self:
        """The same error with these values in place of its own, and all that was added to it."""
        values = vars(self) | other
        made = type(self)(*(values[name] for name in _GIVEN))
        vars(made).update(values)
        return made

    def being_away(self) -> Self:
        """The same error, where nobody is there at all, or it has never answered."""
        self.away = True
        return self

    def advising(self, advice: str) -> Self:
        """The same error, with what helps here, where that is not what helps most of its kind."""
        self.advised = advice
        return self

    def advice(self) -> str:
        """What the user can do about it: one sentence or two, without the image's name."""
        return (
            "Run it again; if it stays, look at what the registry logs, and the engine if one "
            "copies."
        )


_GIVEN = ("what", "where", "transient", "ends_run", "retry_after")  # as `__init__` takes them


class NotFound(CopyError):
    """The registry has no such repository, tag or digest."""

    def advice(self) -> str:
        if self.advised:
            return self.advised
        host = self.where.registry
        if self.where.at_target:
            return f"Create the repository at {host}, or correct the namespace."
        if self.where.step is Step.COPY:  # the image itself was there when it was looked for
            return (
                f"Run it again; if it stays, the image is incomplete at {host}, or, where that is "
                "the target too, the repository has to be created there."
            )
        by_digest = "@" in (self.where.image or "")
        if by_digest and self.where.is_layout:  # a list by digest was made of an export
            return f"{host} holds not all that is listed: carry it over again, or export it afresh."
        slip = "digest" if by_digest else "tag"
        return f"Correct the name or the {slip} in the list, or comment the line out with #."


class AuthenticationFailed(CopyError):
    """The registry wants a login, or refuses ours."""

    def advice(self) -> str:
        if self.advised:
            return self.advised
        host = self.where.registry
        if self.where.is_images_own:
            return (
                f"Log in: docker login {host}. REGISTRY_USER and REGISTRY_PASSWORD (or --user) are "
                "for the target alone."
            )
        return (
            f"Log in: docker login {host}. For the target, REGISTRY_USER and REGISTRY_PASSWORD (or "
            "--user) come before that: where they are set, correct them."
        )


class PermissionDenied(CopyError):
    """The registry knows us and says no, or hides what we may not see."""

    def advice(self) -> str:
        host = self.where.registry
        if self.where.is_layout:
            return f"Give us the right to read {host}, and to write there if it is the target."
        if self.where.at_target:
            return (
                f"Give this account the right to push at {host}; check that the "
                "namespace (project) exists and that its quota is not used up."
            )
        if self.where.step is Step.COPY:
            return f"Check that this account may pull at {host}, and push if it is the target too."
        return f"Check that the image exists and that this account may pull at {host}."


class RateLimited(CopyError):
    """The registry wants us to ask less often."""

    def advice(self) -> str:
        wait = f"Wait {self.retry_after:.0f} s, or " if self.retry_after else "Wait, or "
        return f"{wait}log in to {self.where.registry} for a larger quota, or lower --concurrency."


class RegistryUnavailable(CopyError):
    """The registry does not answer, or not now."""

    def advice(self) -> str:
        if self.advised:
            return self.advised
        if self.where.is_layout:
            return f"Check the disk of {self.where.registry}, then run it again."
        if self.retry_after:
            wait = f"{self.retry_after:.0f} s, as {self.where.registry} asks for"
            return f"Wait {wait}, then run it again."
        return f"Check that {self.where.registry} is up and reachable from here, then run it again."


class TlsError(CopyError):
    """The registry's certificate is not trusted, or it speaks no TLS."""

    def advice(self) -> str:
        if self.advised:
            return self.advised
        host = self.where.registry
        return (
            f"Trust its CA: --ca-file FILE, or /etc/docker/certs.d/{host}/ca.crt, which an engine "
            f"needs in any case; to check nothing: --insecure-skip-verify {host}. If it is meant "
            f"to speak no TLS: --plain-http {host}, and for an engine insecure-registries in its "
            "daemon.json. No engine is needed with --via direct."
        )


class EngineLost(CopyError):
    """The engine went away during the run."""

    def advice(self) -> str:
        return "Start Docker again, then run the same command: what is in place is skipped."


class DigestMismatch(CopyError):
    """Content, or the target's confirmation, is not what was named."""

    def advice(self) -> str:
        if self.where.is_layout:
            return (
                f"{self.where.registry} is damaged: carry it over again, or, if it is damaged "
                "where it comes from, export the image anew into a fresh folder: an export into "
                "the same one compares sizes alone."
            )
        return (
            f"Run it again; if it stays, {self.where.registry} or a proxy before it alters images, "
            "or somebody else pushes to the same tag."
        )


class UnsupportedManifest(CopyError):
    """An image of a kind that cannot be copied this way."""

    def advice(self) -> str:
        return "Ask its publisher for an image in a current format (OCI or Docker schema 2)."


class RefusedByTarget(CopyError):
    """The target takes no such image, or no such reference."""

    def advice(self) -> str:
        return f"See what {self.where.registry} says: its rules on types, tags or sizes forbid it."


class TargetFull(RefusedByTarget):
    """The target's disk is full, or what it grants this account or project is used up."""

    def advice(self) -> str:
        if self.advised:
            return self.advised
        if self.where.is_layout:
            return (
                f"Free space on the disk of {self.where.registry}, then run it again: what is in "
                "place is skipped."
            )
        return (
            f"Free space at {self.where.registry}, or raise the quota there; then run it again: "
            "what is in place is skipped."
        )


class TargetClosed(RefusedByTarget):
    """The target takes no pushes at all."""

    def advice(self) -> str:
        return (
            f"{self.where.registry} is read-only, locked, or only a cache of another registry: "
            "have it opened for pushes, or name another destination."
        )


class TypeRefused(RefusedByTarget):
    """The target takes no manifest of this type: another form of the image may be welcome."""

    def advice(self) -> str:
        takes_none = f"{self.where.registry} takes no images of this kind; see what it says."
        return f"{takes_none} {self.advised}".rstrip()


class BlobsUnknown(RefusedByTarget):
    """The target lacks blobs that a manifest names, although they were there a moment ago."""

    missing: tuple[Digest, ...] = ()

    def naming(self, missing: tuple[Digest, ...]) -> Self:
        """The same error, with the blobs that the target names."""
        self.missing = missing
        return self

    def advice(self) -> str:
        return f"Run it again; if it stays, {self.where.registry} loses what it takes."


class NoSuchPlatform(CopyError):
    """The image does not exist for the platform asked for."""

    def advice(self) -> str:
        return "Ask for a platform that the image has (--platform), or comment the line out with #."


class DiskFull(CopyError):
    """The engine has no space left."""

    def advice(self) -> str:
        return (
            "Free the engine's disk (docker system prune --all); --clean keeps it free behind each "
            "image. An image that is too large for it goes without an engine: --via direct."
        )


class TimedOut(CopyError):
    """Nothing moved for too long, or the image took longer than --timeout allows."""

    def advice(self) -> str:
        if self.advised:
            return self.advised
        return "Run it again; raise --timeout if it is set, or look at the link to the registry."
