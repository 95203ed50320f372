"""What can keep the embedded server from starting, each with a message a person can act on."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class EmbeddedError(Exception):
    """The embedded PostgreSQL cannot be used; the message says why and what to do."""


class UnsupportedPlatform(EmbeddedError):
    """There are no PostgreSQL programs for this machine."""


class NotWritable(EmbeddedError):
    """The data directory is read-only, or belongs to somebody else."""


class DiskFull(EmbeddedError):
    """There is too little space on the disk of the data directory."""


class AlreadyRunning(EmbeddedError):
    """A live instance holds the data directory."""


class VersionMismatch(EmbeddedError):
    """The data directory was made by another major version of PostgreSQL."""


class PortBusy(EmbeddedError):
    """Another program listens on the port."""


class StartFailed(EmbeddedError):
    """PostgreSQL gave up while starting; the message ends with its last words."""


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Errors of the file system below `path` leave the block as an EmbeddedError."""
    try:
        yield
    except OSError as error:
        raise of_file_system(error, path) from error


def of_file_system(error: OSError, path: Path) -> EmbeddedError:
    """The EmbeddedError that tells what `error` means for whoever chose `path`."""
    where = error.filename or path
    if error.errno == errno.EROFS:
        return NotWritable(f"{where} is on a read-only file system: choose another data directory than {path}")
    if error.errno in (errno.EACCES, errno.EPERM):
        return NotWritable(
            f"no permission for {where}: make {path} writable for this user, or choose another data directory"
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"no space left for {where}: free some, or choose a data directory on another disk than {path}")
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.ELOOP):
        return NotWritable(f"{where} is in the way: {path} must be a directory that only Mainstay uses")
    return EmbeddedError(f"{where}: {error.strerror or error}")


def of_log(tail: str, path: Path) -> EmbeddedError:
    """The EmbeddedError for a server on `path` that ended while starting, with `tail` as its last words."""
    told = f"PostgreSQL did not start on {path}. Its last words:\n{tail or '(none)'}"
    if "No space left on device" in tail or "Disk quota exceeded" in tail:
        return DiskFull(f"no space left on the disk of {path}: free some and start again. {told}")
    if "Read-only file system" in tail:
        return NotWritable(f"{path} is on a read-only file system. {told}")
    if "Address already in use" in tail:
        return PortBusy(told)
    if "pre-existing shared memory block" in tail or ("lock file" in tail and "already exists" in tail):
        return AlreadyRunning(f"processes of an earlier server still hold {path}. {told}")
    return StartFailed(told)
