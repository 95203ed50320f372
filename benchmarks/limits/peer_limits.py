"""The `limits` library on the same work, run by the Python of its own environment: `STORAGE CHECKS AT_ONCE KEYS`."""

import asyncio
import sys
import time

from limits import RateLimitItemPerMinute
from limits.aio.strategies import MovingWindowRateLimiter
from limits.storage import storage_from_string


async def run(storage: str, checks: int, at_once: int, keys: int) -> tuple[float, float]:
    """Seconds, and seconds of CPU, for so many checks, so many at a time, over so many keys in turn."""
    options = {} if "memory" in storage else {"implementation": "redispy"}
    limiter = MovingWindowRateLimiter(storage_from_string(storage, **options))
    item = RateLimitItemPerMinute(100)
    await limiter.hit(item, "warm")
    left = iter(range(checks))

    async def one_after_another() -> None:
        for number in left:
            await limiter.hit(item, f"k{number % keys}")

    started, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one_after_another() for _ in range(at_once)))
    return time.perf_counter() - started, time.process_time() - used


if __name__ == "__main__":
    where, number, together, names = sys.argv[1:]
    print(*asyncio.run(run(where, int(number), int(together), int(names))))
