"""What the names of images are made of, and how it is told that a text is none.

The grammar is Docker's (distribution/reference, “Grammar”).
"""

from __future__ import annotations

import re

from asyncsync.model.foreign import quoted

REPOSITORY_MAX = 255  # characters (distribution/reference, RepositoryNameTotalLengthMax)
TAG_MAX = 128  # characters (distribution-spec, “Pulling manifests”)

_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*")
_TAG = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{TAG_MAX - 1}}}")
_NOT_IN_NAMES = re.compile(r"[^a-z0-9._-]")
_NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9_.-]")


class NotAReference(ValueError):
    """Why a text names no image: `what` is wrong, `offset` is where (characters, from 0).

    `instead` is the whole text corrected, where that can be told.
    """

    def __init__(self, what: str, offset: int = 0, instead: str | None = None) -> None:
        super().__init__(what, offset, instead)
        self.what, self.offset, self.instead = what, offset, instead

    def __str__(self) -> str:
        return f"{self.what}. Write {self.instead}" if self.instead else self.what


def is_tag(text: str) -> bool:
    """Whether a registry can have a tag of this name (distribution-spec, “Pulling manifests”)."""
    return _TAG.fullmatch(text) is not None


def check_repository(repository: str, offset: int = 0) -> None:
    """Raise NotAReference for what is no repository; `offset`: where it begins in the text."""
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


def check_tag(tag: str, offset: int = 0) -> None:
    """Raise NotAReference for what is no tag; `offset`: where it begins in the text."""
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
