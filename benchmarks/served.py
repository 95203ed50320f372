"""An API process for a load generator or a client to call."""

import os
import signal
import subprocess
import sys
import time
import urllib.request


class Served:
    """An API process of ours or the usual one on each port, started and stopped by id."""

    def __init__(self, target: str, environment: dict[str, str], ports: list[int]) -> None:
        self.ports = ports
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-m", "uvicorn", target, *(["--factory"] if ":build" in target else []), "--port", str(port),  # noqa: E501
                 "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"],
                env={**os.environ, **environment},
            )
            for port in ports
        ]  # fmt: skip
        try:
            for port in ports:
                self._wait(port)
        except SystemExit:
            self.stop()
            raise

    @staticmethod
    def _wait(port: int) -> None:
        for _ in range(1_200):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/docs", timeout=5):
                    return
            except OSError:
                time.sleep(0.05)
        raise SystemExit("the server did not start")

    def stop(self) -> None:
        """Every process has ended."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
