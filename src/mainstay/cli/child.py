"""How a process that `mainstay up` starts runs one of the commands and ends when `up` does."""

import os
import signal
import sys
import threading
import time

GRACE_SECONDS = 3.0


def end_with(handle: int) -> None:
    """This process ends once the other end of the pipe is closed, which also happens when its holder is killed."""

    def watch() -> None:
        while os.read(handle, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def main() -> None:
    """`python -m mainstay.cli.child HANDLE COMMAND...` runs the command under the watch of that pipe."""
    handle, *command = sys.argv[1:]
    end_with(int(handle))
    sys.argv[:] = ["mainstay", *command]
    from mainstay.cli import main as run  # noqa: PLC0415 - the watch begins before anything is loaded

    run()


if __name__ == "__main__":
    main()
