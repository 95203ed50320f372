"""Objects by name in an S3 bucket or a local directory: whole or not at all, kept once we say so, in flat memory."""

import asyncio
import fcntl
import os
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import obstore
from obstore import exceptions as broken
from obstore.store import LocalStore, S3Store

from mainstay.kernel.errors import Conflict, NotFound, Unavailable
from mainstay.kernel.settings import Settings

READ_BYTES = 4 * 1024 * 1024
PART_BYTES = 8 * 1024 * 1024
WHOLE_BYTES = 16 * 1024 * 1024
"""An S3 object of up to this size is put by one conditional request; a larger one after a look at the condition."""
_PARTS_AT_ONCE = 2
_STAGING = ".staging"
_STALE_SECONDS = 24 * 3600
_CLIENT: Any = {"connect_timeout": "5s", "timeout": "60s"}
_RETRIES: Any = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=20),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=2), "base": 2},
}
_FAILURES = (broken.BaseError, OSError, ValueError)


class ObjectNotFound(NotFound):
    """There is no object of this name."""


class ObjectExists(Conflict):
    """There is an object of this name, and only a new one was to be written."""


class ObjectChanged(Conflict):
    """The object is not the one that was read before."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object that is there: its name, its size in bytes, and a tag that changes with its content."""

    name: str
    etag: str
    bytes: int


class Objects:
    """The objects of one region; all verbs raise Unavailable while the store does not do its work."""

    def __init__(self, store: Any, root: Path | None = None) -> None:
        self._store = store
        self._root = root
        if root is not None:
            _sweep(root / _STAGING)

    @classmethod
    def of(cls, settings: Settings, region: str | None = None) -> "Objects | None":
        """The store that OBJECT_STORE_<REGION>, or else OBJECT_STORE, names; None where neither does."""
        own = None if region is None else settings.region_stores.get(region)
        url = own or settings.object_store
        return (
            None
            if url is None
            else cls.open(
                url,
                endpoint=settings.s3_endpoint,
                region=settings.s3_region,
                key_id=settings.aws_access_key_id,
                secret=settings.aws_secret_access_key,
            )
        )

    @classmethod
    def open(
        cls,
        url: str,
        *,
        endpoint: str | None = None,
        region: str | None = None,
        key_id: str | None = None,
        secret: str | None = None,
    ) -> "Objects":
        """The store of `s3://bucket/prefix?region=…&endpoint=…` or `file:///path`; nothing is asked of it yet."""
        parts = urlsplit(url)
        if parts.scheme == "file":
            root = Path(unquote(parts.path))
            with suppress(OSError):
                root.mkdir(parents=True, exist_ok=True, mode=0o700)
            return cls(None, root)
        own = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        endpoint = own.get("endpoint", endpoint)
        given = {
            "endpoint": endpoint,
            "region": own.get("region", region) or "us-east-1",
            "access_key_id": key_id,
            "secret_access_key": secret,
        }
        config: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        is_plain = endpoint is not None and endpoint.startswith("http://")
        store = S3Store(
            parts.netloc,
            prefix=parts.path.strip("/") or None,
            client_options={**_CLIENT, **({"allow_http": True} if is_plain else {})},
            retry_config=_RETRIES,
            virtual_hosted_style_request=endpoint is None,
            **config,
        )
        return cls(store)

    async def put(
        self, name: str, body: bytes | AsyncIterator[bytes], *, create_only: bool = False, replaces: str | None = None
    ) -> Stored:
        """The object has this content, all of it, and survives a loss of power; a body that raises leaves no trace.

        `create_only` refuses to replace anything (ObjectExists), `replaces` whatever has another etag (ObjectChanged);
        both hold against simultaneous writers. Of S3 objects over 16 MiB the condition is looked at just before they
        are completed.
        """
        watched = _Watched(body)
        with _translated(create_only=create_only, watched=watched):
            if self._root is not None:
                return await self._put_local(name, watched, create_only=create_only, replaces=replaces)
            if not create_only and replaces is None:
                result = await self._send(name, watched.chunks())
            else:
                result = await self._put_conditional(name, watched, create_only=create_only, replaces=replaces)
            return Stored(name, _etag(result), watched.size)

    async def get(self, name: str, *, etag: str | None = None) -> AsyncIterator[bytes]:
        """Yields the content in pieces of up to 4 MiB, each asked for when it is wanted, all of one version of it.

        With an etag, of that version alone.
        """
        found = await self.head(name)
        if etag is not None and found.etag != etag:
            raise ObjectChanged
        for start in range(0, found.bytes, READ_BYTES):
            end = min(start + READ_BYTES, found.bytes)
            with _translated():
                answer = await obstore.get_async(
                    self._reading(), name, options={"range": (start, end), "if_match": found.etag}
                )
                piece = bytes(await answer.bytes_async())
            if len(piece) != end - start:
                raise ObjectChanged
            yield piece

    async def head(self, name: str) -> Stored:
        """The object's size and etag."""
        try:
            with _translated():
                found = await obstore.head_async(self._reading(), name)
                return Stored(name, _etag(found), found["size"])
        except ObjectNotFound:
            await self.probe()
            raise

    async def probe(self) -> None:
        """The store answers and its bucket or directory is there, or Unavailable."""
        with _translated():
            if self._root is not None and not self._root.is_dir():
                raise OSError("the directory of the objects is gone")
            await obstore.list(self._reading(), "probe", chunk_size=1).collect_async()

    async def list(self, prefix: str = "") -> AsyncIterator[Stored]:
        """Yields the objects below a prefix (whole path segments) in the order of their names."""
        with _translated():
            stream = obstore.list(self._reading(), prefix or None, chunk_size=1000)
            if self._root is not None:
                local = [one for page in await asyncio.to_thread(list, stream) for one in page]
                for one in sorted(local, key=lambda one: one["path"]):
                    if not one["path"].startswith(f"{_STAGING}/"):
                        yield Stored(one["path"], _etag(one), one["size"])
                return
            async for page in stream:
                for one in page:
                    yield Stored(one["path"], _etag(one), one["size"])

    async def delete(self, name: str) -> None:
        """The object is not there (any more)."""
        with suppress(ObjectNotFound), _translated():
            await obstore.delete_async(self._reading(), name)
            if self._root is not None:
                await asyncio.to_thread(_sync_directory, self._path(name).parent)

    def _reading(self) -> Any:
        if self._root is None:
            return self._store
        if self._store is None:
            self._store = LocalStore(self._root)
        return self._store

    async def _send(self, name: str, chunks: AsyncIterator[bytes]) -> Any:
        return await obstore.put_async(
            self._reading(), name, chunks, chunk_size=PART_BYTES, max_concurrency=_PARTS_AT_ONCE
        )

    async def _put_conditional(self, name: str, watched: "_Watched", *, create_only: bool, replaces: str | None) -> Any:
        chunks = watched.chunks()
        begun = bytearray()
        async for chunk in chunks:
            begun += chunk
            if len(begun) > WHOLE_BYTES:
                break
        else:
            mode: Any = "create" if create_only else {"e_tag": replaces}
            return await obstore.put_async(self._store, name, bytes(begun), mode=mode, use_multipart=False)

        async def checked() -> AsyncIterator[bytes]:
            yield bytes(begun)
            async for chunk in chunks:
                yield chunk
            with watched.remembered():
                await self._check(name, create_only=create_only, replaces=replaces)

        return await self._send(name, checked())

    async def _check(self, name: str, *, create_only: bool, replaces: str | None) -> None:
        try:
            there = await self.head(name)
        except ObjectNotFound:
            if create_only:
                return
            raise ObjectChanged from None
        if create_only:
            raise ObjectExists
        if there.etag != replaces:
            raise ObjectChanged

    async def _put_local(self, name: str, watched: "_Watched", *, create_only: bool, replaces: str | None) -> Stored:
        """Written aside, brought to disk, then given its name: the store alone would bring nothing to disk."""
        assert self._root is not None
        aside = f"{_STAGING}/{uuid.uuid4().hex}"
        target = self._path(name)
        try:
            await self._send(aside, watched.chunks())
            await asyncio.to_thread(_sync_file, self._path(aside))
            await asyncio.to_thread(_make_directories, self._root, target.parent)
            if create_only or replaces is not None:
                etag = await asyncio.to_thread(_take_turns, self._path(aside), target, create_only, replaces)
            else:
                etag = await asyncio.to_thread(_rename, self._path(aside), target)
        finally:
            with suppress(OSError):
                self._path(aside).unlink(missing_ok=True)
        return Stored(name, etag, watched.size)

    def _path(self, name: str) -> Path:
        assert self._root is not None
        if any(part in ("", ".", "..") or "\0" in part for part in name.split("/")):
            raise ValueError("a name of an object has neither empty nor dotted parts")
        return self._root / name


class _Watched:
    """A body on its way: how much has passed, and what it raised itself."""

    def __init__(self, body: bytes | AsyncIterator[bytes]) -> None:
        self._body = body
        self.size = 0
        self.error: BaseException | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        if isinstance(self._body, bytes):
            self.size = len(self._body)
            if self._body:
                yield self._body
            return
        with self.remembered():
            async for chunk in self._body:
                if chunk:
                    self.size += len(chunk)
                    yield chunk

    @contextmanager
    def remembered(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.error = error
            raise


@contextmanager
def _translated(*, create_only: bool = False, watched: _Watched | None = None) -> Iterator[None]:
    """What the store's library raises, in our words; what the body of a put raised, as it was."""
    try:
        yield
    except (FileNotFoundError, broken.AlreadyExistsError, broken.PreconditionError, *_FAILURES) as error:
        if watched is not None and watched.error is not None:
            raise watched.error from None
        if isinstance(error, FileNotFoundError) and "NoSuchBucket" not in str(error):
            raise ObjectNotFound from None
        if isinstance(error, broken.AlreadyExistsError | FileExistsError):
            raise (ObjectExists if create_only else ObjectChanged) from None
        if isinstance(error, broken.PreconditionError):
            raise (ObjectExists if create_only else ObjectChanged) from None
        raise Unavailable("The object store does not do its work.", retry_after_seconds=30) from error


def _etag(found: Any) -> str:
    return str(found["e_tag"] or "")


def _local_etag(path: Path) -> str:
    """As the store's library writes it of a file."""
    found = path.stat()
    return f'"{found.st_ino:x}-{found.st_mtime_ns // 1000:x}-{found.st_size:x}"'


def _rename(aside: Path, target: Path) -> str:
    aside.replace(target)
    _sync_directory(target.parent)
    return _local_etag(target)


def _take_turns(aside: Path, target: Path, create_only: bool, replaces: str | None) -> str:
    """The condition is looked at and the name given while no other process does the same in this directory."""
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        there = _local_etag(target) if target.exists() else None
        if create_only and there is not None:
            raise ObjectExists
        if replaces is not None and there != replaces:
            raise ObjectChanged
        return _rename(aside, target)
    finally:
        os.close(directory)


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_sync_directory = _sync_file


def _make_directories(root: Path, directory: Path) -> None:
    """The directory exists, and so do those above it after a loss of power."""
    missing = []
    while directory != root and not directory.is_dir():
        missing.append(directory)
        directory = directory.parent
    for one in reversed(missing):
        one.mkdir(exist_ok=True, mode=0o700)
        _sync_directory(one.parent)


def _sweep(staging: Path) -> None:
    """What writers that were killed left behind a day ago is gone."""
    with suppress(OSError):
        for path in staging.iterdir():
            with suppress(OSError):
                if path.stat().st_mtime < time.time() - _STALE_SECONDS:
                    path.unlink()
