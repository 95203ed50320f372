"""Our worker, as `mainstay worker` runs it."""

import asyncio
import signal

import uvloop

from mainstay import main
from mainstay.kernel import logs
from mainstay.kernel.settings import load


async def _main() -> None:
    settings = load()
    logs.configure(service=settings.service_name, level=settings.log_level)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await main.run_worker(settings, stop)


if __name__ == "__main__":
    uvloop.run(_main())
