"""Receivers on many loopback addresses: `/ok` answers 200, `/fail` 500, and `/hang` never: `PORT ADDRESS...`."""

import asyncio
import sys

import httptools
import uvloop

_ANSWERS = {
    b"/ok": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"/fail": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 6\r\n\r\nfailed",
    b"/hang": b"",
}


class _Protocol(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._answer = _ANSWERS[url]

    def on_message_complete(self) -> None:
        if self._answer:
            self._transport.write(self._answer)  # type: ignore[attr-defined]


async def _serve(port: int, addresses: list[str]) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(_Protocol, address, port, backlog=64) for address in addresses]
    print("ready", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), sys.argv[2:]))
