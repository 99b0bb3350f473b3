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

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)

_TOO_LARGE = (
    "Write to another file system, since this one holds no file of that size (FAT: 4 GiB at most); "
    "in place of a tar, a folder may do, whose files are no larger than a layer."
)
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
            full = TargetFull(f"{layout} cannot be written: {why}", where)
            raise full.advising(_TOO_LARGE if error.errno == errno.EFBIG else "") from error
        if error.errno in _FORBIDDEN:
            what = f"{layout} may not be used as that needs: {why}"
            raise PermissionDenied(what, where) from error
        raise RegistryUnavailable(f"{layout}: {why}", where) from error
    except WrongDigest as error:
        what = f"{layout} has other bytes than they are called: {error}"
        raise DigestMismatch(what, where) from error
    except BrokenLayout as error:
        raise DigestMismatch(f"{layout} is damaged: {shown(str(error))}", where) from error
