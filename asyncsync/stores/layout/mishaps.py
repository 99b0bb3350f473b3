"""What goes wrong on a disk, as a user can act on it: told here and nowhere else."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from asyncsync.model.errors import (
    DigestMismatch,
    PermissionDenied,
    RegistryUnavailable,
    TargetFull,
    Where,
)
from asyncsync.model.foreign import shown
from asyncsync.model.place import Layout
from asyncsync.stores.layout.archiving import WrittenMeanwhile
from asyncsync.stores.layout.index import BrokenLayout
from asyncsync.stores.layout.writing import WrongDigest

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the last: of what the file system can hold
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)

_ONE_AT_A_TIME = "Let one run at a time write a tar, or name another file; then run it again."


@contextmanager
def asking(layout: Layout) -> Iterator[None]:
    """Turn what reading or writing `layout` raises into CopyError."""
    where = Where(str(layout))
    try:
        yield
    except WrittenMeanwhile as error:
        meanwhile = RegistryUnavailable(f"{layout}: {error.strerror}", where)
        raise meanwhile.advising(_ONE_AT_A_TIME) from error
    except OSError as error:
        why = shown(error.strerror or str(error))
        if error.errno in _FULL:
            raise TargetFull(f"{layout} cannot be written: {why}", where) from error
        if error.errno in _FORBIDDEN:
            what = f"{layout} may not be used as that needs: {why}"
            raise PermissionDenied(what, where) from error
        raise RegistryUnavailable(f"{layout}: {why}", where) from error
    except WrongDigest as error:
        what = f"{layout} has other bytes than they are called: {error}"
        raise DigestMismatch(what, where) from error
    except BrokenLayout as error:
        raise DigestMismatch(f"{layout} is damaged: {shown(str(error))}", where) from error
