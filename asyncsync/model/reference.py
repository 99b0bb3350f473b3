"""The name of an image, in one normal form: registry/repository:tag@digest.

The grammar is Docker's (distribution/reference, “Grammar”), read strictly: what a registry or an
engine would refuse later is refused here, with what to write instead. An image in an OCI layout is
`oci:FOLDER:repository:tag`, as skopeo writes it.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Self, TypeAlias

from asyncsync.model.foreign import quoted

REPOSITORY_MAX = 255  # characters (distribution/reference, RepositoryNameTotalLengthMax)
REFERENCE_MAX = 1024  # characters; longer than host, repository, tag and sha512 digest together
TAG_MAX = 128  # characters (distribution-spec, “Pulling manifests”)
DOCKER_HUB = "docker.io"

_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:]{{2,45}}\])(?::(?P<port>[0-9]+))?")
_PORT_MAX = 65535
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*")
_TAG = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{TAG_MAX - 1}}}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_NOT_IN_NAMES = re.compile(r"[^a-z0-9._-]")
_NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9_.-]")
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")
# Docker's own other names for its registry; they are one host and one credential.
_HUB_ALIASES = frozenset({"index.docker.io", "registry-1.docker.io"})


class NotAReference(ValueError):
    """Why a text names no image: `what` is wrong, `offset` is where (characters, from 0).

    `instead` is the whole text corrected, where that can be told.
    """

    def __init__(self, what: str, offset: int = 0, instead: str | None = None) -> None:
        super().__init__(what, offset, instead)
        self.what, self.offset, self.instead = what, offset, instead

    def __str__(self) -> str:
        return f"{self.what}. Write {self.instead}" if self.instead else self.what


@dataclass(frozen=True, slots=True)
class Digest:
    """The hash that names content: `sha256:<64 hex>` or `sha512:<128 hex>` (OCI image-spec)."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `sha256:…`. Raises ValueError that says what was expected."""
        if _DIGEST.fullmatch(text) is None:
            raise NotAReference(
                f"{quoted(text)} is no digest: sha256: and 64 lower-case hex digits, "
                "or sha512: and 128"
            )
        algorithm, _, digits = text.partition(":")
        return cls(algorithm, digits)

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Self:
        """The digest of `data`."""
        return cls(algorithm, hashlib.new(algorithm, data).hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry by host and port, as `ghcr.io` or `localhost:5000`. Docker Hub: `docker.io`."""

    host: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `host[:port]`. Raises ValueError that says what to write instead."""
        match = _HOST.fullmatch(text)
        if match is None or not _is_address_if_bracketed(text):
            lower = text.lower()
            if lower != text and _HOST.fullmatch(lower):
                raise NotAReference("host names are written in lower case here", instead=lower)
            raise NotAReference(f"{quoted(text)} is no registry: host or host:port, as ghcr.io")
        port = match["port"]
        if port is not None and not 0 < int(port[:10]) <= _PORT_MAX:  # cut: long ones are costly
            raise NotAReference(
                f"{quoted(port)} is no port: ports go from 1 to {_PORT_MAX}", match.start("port")
            )
        return cls(DOCKER_HUB if text in _HUB_ALIASES else text)

    def __str__(self) -> str:
        return self.host


def _is_address_if_bracketed(host: str) -> bool:
    if not host.startswith("["):
        return True
    try:
        ipaddress.IPv6Address(host[1 : host.index("]")])
    except ValueError:
        return False
    return True


OCI = "oci:"
# A folder is always written so that no registry or tag can look like one.
_FOLDER = re.compile(r"(?:/|\.{1,2}(?:/|\Z))[^:]*")
_PACKED = re.compile(r"\.(?:tgz|tzst|tbz2?|txz|tar\.[a-z0-9]+)\Z")
LAYOUT_MAX = 2048  # characters of a folder's name


@dataclass(frozen=True, slots=True)
class Layout:
    """An OCI layout by its folder, or by its tar (a name in `.tar`). As text `oci:./export`.

    The path begins with `/`, `./` or `../`; it holds no ':', which ends it in a reference.
    """

    path: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `oci:FOLDER`. Raises ValueError that says what to write instead."""
        scheme, _, path = text.partition(":")
        if scheme != "oci" or not path:
            raise NotAReference(f"{quoted(text)} is no layout: oci:FOLDER, as oci:./export")
        if len(path) > LAYOUT_MAX:
            raise NotAReference(
                f"a folder's name has at most {LAYOUT_MAX} characters, not {len(path)}"
            )
        if path.startswith("~"):  # shells leave it as it is behind oci:
            raise NotAReference("no shell expands the '~' there", instead=f"oci:$HOME{path[1:]}")
        if ":" in path:
            what = "a layout's folder has no ':' in its name, and its images are named in the list"
            raise NotAReference(what, text.rindex(":"))
        if not path.isprintable():
            raise NotAReference(f"{quoted(path)} has a sign in it that cannot be printed")
        path = path.rstrip("/") or "/"
        if packed := _PACKED.search(path):
            what = f"a layout is a folder or a plain tar, not packed ({packed[0]})"
            raise NotAReference(what, instead=f"oci:{path[: packed.start()]}.tar")
        return cls(path if _FOLDER.fullmatch(path) else f"./{path}")

    def __str__(self) -> str:
        return f"{OCI}{self.path}"

    @property
    def is_tar(self) -> bool:
        """Whether it is one file that holds all of it."""
        return self.path.endswith(".tar")


Place: TypeAlias = Registry | Layout


def is_layout(place: str) -> bool:
    """Whether the text of a place, or what begins with it, is that of a layout."""
    return place.startswith((f"{OCI}/", f"{OCI}."))


def as_registry(place: Place) -> Registry:
    """The registry that `place` is: only there are logins, and HTTP."""
    if isinstance(place, Layout):
        raise TypeError(f"{place} is a layout and no registry")
    return place


def names_registry(component: str) -> bool:
    """Whether Docker takes this first component for a registry and not for a repository."""
    return component == "localhost" or any(c in component for c in ".:[")


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
            place, path = Registry.parse(first), others
        repository, colon, tag = path.partition(":")
        _check_repository(repository, offset=len(named) - len(path))
        if colon:
            _check_tag(tag, offset=len(named) - len(tag))
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
            _check_repository(others, offset=len(first) + 1)
        else:
            _check_repository(repository, offset=0)
        if colon:
            _check_tag(tag, offset=len(named) - len(tag))
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


def is_tag(text: str) -> bool:
    """Whether a registry can have a tag of this name (distribution-spec, “Pulling manifests”)."""
    return _TAG.fullmatch(text) is not None


def referrers_tag(digest: Digest) -> str:
    """Under which tag clients list what refers to `digest`, where a registry keeps no such list.

    (OCI distribution-spec, “Referrers Tag Schema”)
    """
    return f"{digest.algorithm[:32]}-{digest.hex[:64]}"


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


def _check_repository(repository: str, offset: int) -> None:
    if not repository:
        raise NotAReference("the name is missing: name:tag, as nginx:1.27", offset)
    for component in repository.split("/"):
        if not component:
            raise NotAReference("a part of the name is missing beside '/'", offset)
        if _COMPONENT.fullmatch(component) is None:
            culprit = _NOT_IN_NAMES.search(component)
            raise NotAReference(
                f"{quoted(component)} is no part of a name: lower-case letters and digits, "
                "joined by '.', '_', '__' or '-'",
                offset + (culprit.start() if culprit else 0),
            )
        offset += len(component) + 1


def _check_tag(tag: str, offset: int) -> None:
    if _TAG.fullmatch(tag):
        return
    if not tag:
        raise NotAReference(
            "the tag after ':' is missing: name:tag, or the name alone for latest", offset
        )
    culprit = _NOT_IN_TAGS.search(tag)
    if not culprit and len(tag) > TAG_MAX:
        raise NotAReference(f"the tag has {len(tag)} characters; at most {TAG_MAX}", offset)
    raise NotAReference(
        f"{quoted(tag)} is no tag: letters, digits, '_', '.', '-', not beginning with '.' or '-'",
        offset + (culprit.start() if culprit else 0),
    )


def _digest(text: str, offset: int) -> Digest:
    try:
        return Digest.parse(text)
    except NotAReference as error:
        raise NotAReference(error.what, offset) from None
