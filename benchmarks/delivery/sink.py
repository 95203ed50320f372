"""A receiver that answers 200 to everything, as fast as it can: nginx, or a small protocol of our own."""

import asyncio
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httptools
import uvloop

from benchmarks import machine

_NGINX = """
daemon off; worker_processes 1; pid %(place)s/pid; error_log %(place)s/error.log;
events { worker_connections 2048; }
http { access_log off; keepalive_requests 10000000; client_body_temp_path %(place)s/body;
  proxy_temp_path %(place)s/proxy; fastcgi_temp_path %(place)s/fastcgi; uwsgi_temp_path %(place)s/uwsgi;
  scgi_temp_path %(place)s/scgi;
  server { listen 127.0.0.1:%(port)d backlog=2048; location / { return 200 "ok"; } } }
"""
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextmanager
def sink() -> Iterator[tuple[str, str]]:
    """The URL of a running sink, and what it is."""
    program, port = shutil.which("nginx"), machine.free_port()
    with TemporaryDirectory(prefix="mainstay-sink-", ignore_cleanup_errors=True) as place:
        command = [sys.executable, "-m", "benchmarks.delivery.sink", str(port)]
        if program:
            settings = Path(place) / "nginx.conf"
            settings.write_text(_NGINX % {"place": place, "port": port})
            command = [program, "-p", place, "-e", f"{place}/error.log", "-c", str(settings)]
        process = subprocess.Popen(command)
        url = f"http://127.0.0.1:{port}/hook"
        try:
            _wait(url)
            yield url, "nginx, one worker" if program else "asyncio and httptools"
        finally:
            process.terminate()
            process.wait(10)


def _wait(url: str) -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen(url, data=b"{}", timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("the sink did not start")


class _Protocol(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._transport.write(_ANSWER)  # type: ignore[attr-defined]


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Protocol, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
