"""Passwords: argon2id on threads of their own, so many and no more, so that logins cannot starve the API.

A password is hashed and compared exactly as it came: nothing is cut off, trimmed, folded or normalised.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from mainstay.identity.common_passwords import why_easy
from mainstay.identity.errors import TooManyLogins
from mainstay.kernel.errors import Fault, Invalid

MIN_CHARACTERS = 8
MAX_CHARACTERS = 1_024
_LEAST_MEMORY_KIB = 19 * 1_024

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the password is right; `fresh_hash` replaces a hash that was made with other parameters than today's."""

    right: bool
    fresh_hash: str | None = None


class Passwords:
    """Hashes and verifies on `threads` threads; past `most_waiting` calls in line TooManyLogins."""

    def __init__(self, *, memory_kib: int = 65_536, passes: int = 3, threads: int = 2, most_waiting: int = 32) -> None:
        if memory_kib < _LEAST_MEMORY_KIB or passes < 2:
            raise ValueError(f"argon2id needs at least {_LEAST_MEMORY_KIB} KiB and 2 passes")
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=1)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="passwords")
        self._places = threading.Semaphore(threads + most_waiting)
        self._nobody: str | None = None

    async def hash(self, password: str, *, context: Iterable[str] = (), pointer: str = "#/password") -> str:
        """The argon2id hash of a new password; Invalid where `check_password` refuses it, TooManyLogins."""
        check_password(password, context=context, pointer=pointer)
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, password_hash: str | None, password: str) -> Verdict:
        """Whether the password belongs to the hash; no hash costs the same work and is wrong. TooManyLogins."""
        if len(password) > MAX_CHARACTERS or not _is_text(password):
            return Verdict(False)
        return await self._run(lambda: self._verify(password_hash, password))

    def close(self) -> None:
        """The threads end; what was waiting is given up."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _verify(self, password_hash: str | None, password: str) -> Verdict:
        if self._nobody is None:
            self._nobody = self._hasher.hash("nobody has this password")
        try:
            self._hasher.verify(password_hash or self._nobody, password)
        except (VerificationError, InvalidHashError):
            return Verdict(False)
        if password_hash is None:
            return Verdict(False)
        outdated = self._hasher.check_needs_rehash(password_hash)
        return Verdict(True, self._hasher.hash(password) if outdated else None)

    async def _run(self, work: Callable[[], T]) -> T:
        if not self._places.acquire(blocking=False):
            raise TooManyLogins
        try:
            future = self._pool.submit(work)
        except RuntimeError:
            self._places.release()
            raise TooManyLogins from None
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)


def check_password(password: str, *, context: Iterable[str] = (), pointer: str = "#/password") -> None:
    """Passes 8 to 1,024 characters of any kind that are not easily guessed; Invalid.

    `context` are names that an attacker knows: of the person, their address, the company, the product.
    """
    if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS or not _is_text(password):
        raise Invalid(faults=[Fault(f"must have {MIN_CHARACTERS} to {MAX_CHARACTERS} characters", pointer)])
    why = why_easy(password, context)
    if why is not None:
        raise Invalid(faults=[Fault(why, pointer)])


def _is_text(password: str) -> bool:
    """Whether it can be written as UTF-8 (a lone surrogate cannot)."""
    try:
        password.encode()
    except UnicodeEncodeError:
        return False
    return True
