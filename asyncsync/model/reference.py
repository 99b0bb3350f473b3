"""The name of an image, in one normal form: registry/repository:tag@digest.

The grammar is Docker's (distribution/reference, “Grammar”), read strictly: what a registry or an
engine would refuse later is refused here, with what to write instead. An image in an OCI layout is
`oci:FOLDER:repository:tag`, as skopeo writes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Self

from asyncsync.model.digest import Digest
from asyncsync.model.foreign import quoted
from asyncsync.model.naming import REPOSITORY_MAX, NotAReference, check_repository, check_tag
from asyncsync.model.place import (
    DOCKER_HUB,
    HUB_WEBSITE,
    OCI,
    Layout,
    Place,
    Registry,
    is_layout,
    names_registry,
)

REFERENCE_MAX = 1024  # characters; longer than host, repository, tag and sha512 digest together

_IMAGE_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """One image: where it lives, and its tag, its digest or both. At least one of them is set.

    `Reference.parse(str(reference)) == reference`, always.
    """

    place: Place
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `[registry/]repository[:tag][@digest]` and complete it as Docker does.

        Or `oci:FOLDER:repository[:tag][@digest]`, which is not completed but by the tag.

        Raises NotAReference, a ValueError that says what is wrong and what to write instead.
        """
        if is_layout(text):
            folder, _, name = text.removeprefix(OCI).partition(":")
            layout = Layout.parse(f"{OCI}{folder}")
            try:
                return cls.within(layout, name)
            except NotAReference as error:
                offset = len(text) - len(name) + error.offset
                raise NotAReference(error.what, offset, error.instead) from None
        try:
            return cls._read(text)
        except NotAReference:
            lower = in_lower_case(text)
            if lower == text or not is_reference(lower):
                raise
            offset = next(
                i for i, pair in enumerate(zip(text, lower, strict=True)) if len({*pair}) > 1
            )
            what = f"no image is called {quoted(text)}: names are lower case"
            raise NotAReference(what, offset, lower) from None

    @classmethod
    def _read(cls, text: str) -> Self:
        if len(text) > REFERENCE_MAX:
            raise NotAReference(
                f"{len(text)} characters are too long for an image; at most {REFERENCE_MAX}"
            )
        if _IMAGE_ID.fullmatch(text):
            raise NotAReference("64 hex digits are an image Id, which no registry knows")
        named, at, digest = text.partition("@")
        place, path = Registry(DOCKER_HUB), named
        first, slash, others = named.partition("/")
        if slash and names_registry(first):
            if first == HUB_WEBSITE:
                raise NotAReference(f"{first} is a website, and its registry is {DOCKER_HUB}")
            place, path = Registry.parse(first), others
        repository, colon, tag = path.partition(":")
        check_repository(repository, offset=len(named) - len(path))
        if colon:
            check_tag(tag, offset=len(named) - len(tag))
        if place.host == DOCKER_HUB and "/" not in repository:
            repository = f"library/{repository}"
        if len(repository) > REPOSITORY_MAX:
            raise NotAReference(
                f"the name has {len(repository)} characters; at most {REPOSITORY_MAX}"
            )
        content = _digest(digest, offset=len(named) + 1) if at else None
        return cls(place, repository, tag if colon else None if content else "latest", content)

    @classmethod
    def within(cls, layout: Layout, text: str) -> Self:
        """Read `repository[:tag][@digest]` as `layout` names it: no registry is added to it.

        It may have one: some tools name an image in a layout by all of its name. Raises
        NotAReference.
        """
        if len(text) > REFERENCE_MAX:
            raise NotAReference(
                f"{len(text)} characters are too long for an image; at most {REFERENCE_MAX}"
            )
        named, at, digest = text.partition("@")
        head, slash, last = named.rpartition("/")
        last, colon, tag = last.partition(":")
        repository = f"{head}{slash}{last}"
        first, slash, others = repository.partition("/")
        if slash and names_registry(first):
            Registry.parse(first)
            check_repository(others, offset=len(first) + 1)
        else:
            check_repository(repository, offset=0)
        if colon:
            check_tag(tag, offset=len(named) - len(tag))
        content = _digest(digest, offset=len(named) + 1) if at else None
        return cls(layout, repository, tag if colon else None if content else "latest", content)

    def __str__(self) -> str:
        return f"{self.name}{self._suffix}"

    @property
    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{tag}@{self.digest}" if self.digest else tag

    @property
    def name(self) -> str:
        """Place and repository, without tag and digest: `docker.io/library/nginx`."""
        joint = ":" if isinstance(self.place, Layout) else "/"
        return f"{self.place}{joint}{self.repository}"

    @property
    def entry(self) -> str:
        """As a list names it, complete; an image of a layout is named within that."""
        if isinstance(self.place, Layout):
            return f"{self.repository}{self._suffix}"
        return str(self)

    @property
    def familiar(self) -> str:
        """As a person writes it: `nginx:1.27` for `docker.io/library/nginx:1.27`.

        It is read back as the same reference: `docker.io/a.b/c` keeps its registry. An image of a
        layout is named within that.
        """
        first, _, others = self.repository.partition("/")
        if self.place != Registry(DOCKER_HUB) or names_registry(first):
            return self.entry
        whole = str(self).removeprefix(f"{DOCKER_HUB}/")
        return whole if "/" in others else whole.removeprefix("library/")

    @property
    def identifier(self) -> str:
        """What a registry is asked by: the digest where there is one, else the tag."""
        return str(self.digest or self.tag)

    def by_digest(self, digest: Digest) -> Reference:
        """The same repository, asked by `digest` alone."""
        return replace(self, tag=None, digest=digest)

    def by_tag(self, tag: str) -> Reference:
        """The same repository, asked by `tag` alone."""
        return replace(self, tag=tag, digest=None)


def is_reference(text: str) -> bool:
    """Whether `text` names an image as it stands."""
    try:
        Reference.parse(text)
    except NotAReference:
        return False
    return True


def in_lower_case(text: str) -> str:
    """`text` with registry, repository and digest in lower case; a tag's case has a meaning."""
    named, at, digest = text.partition("@")
    head, slash, last = named.rpartition("/")
    last, colon, tag = last.partition(":")
    return "".join((_lower(head), slash, _lower(last), colon, tag, at, _lower(digest)))


def _lower(text: str) -> str:
    return text.lower() if text.isascii() else text  # beyond ASCII the length can change


def _digest(text: str, offset: int) -> Digest:
    try:
        return Digest.parse(text)
    except NotAReference as error:
        raise NotAReference(error.what, offset) from None
