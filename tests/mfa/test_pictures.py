"""What a camera reads from the QR code is the address that stands beside it."""

import base64
import re
import zlib

import pytest
import zxingcpp

from mainstay.mfa import codes, pictures


def read(rows: list[bytes]) -> str:
    """What is read from an image of one byte a pixel."""
    image = memoryview(b"".join(rows)).cast("B", (len(rows), len(rows[0])))
    found = zxingcpp.read_barcodes(image)
    assert len(found) == 1
    return str(found[0].text)


def pixels_of_png(data: bytes) -> list[bytes]:
    """The pixels of a PNG of one bit each (white or black), whose lines are plain or differ from the one above."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, at = {}, 8
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.setdefault(data[at + 4 : at + 8], []).append(data[at + 8 : at + 8 + size])
        at += 12 + size
    head = chunks[b"IHDR"][0]
    width, height = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:8], "big")
    assert (head[8], head[9]) == (1, 0)
    packed, line = zlib.decompress(b"".join(chunks[b"IDAT"])), 1 + (width + 7) // 8
    lines, above = [], bytes(line - 1)
    for at in range(0, line * height, line):
        kind, given = packed[at], packed[at + 1 : at + line]
        assert kind in (0, 2)
        above = given if kind == 0 else bytes((one + other) % 256 for one, other in zip(given, above, strict=True))
        lines.append(above)
    return [bytes(255 * (one[x // 8] >> (7 - x % 8) & 1) for x in range(width)) for one in lines]


def pixels_of_svg(svg: str) -> list[bytes]:
    """The pixels of an SVG that draws each dark run as a stroke from left to right, over a white ground."""
    scale, size = int(re.search(r"scale\((\d+)\)", svg)[1]), int(re.search(r"M0 0h(\d+)v", svg)[1])
    grid = [[255] * size for _ in range(size)]
    x, y = 0.0, 0.0
    for verb, numbers in re.findall(r"([Mmh])([-\d. ]+)", re.search(r'stroke="#000" d="([^"]+)"', svg)[1]):
        given = [float(number) for number in re.findall(r"-?[\d.]+", numbers)]
        if verb == "h":
            for dark in range(int(x), int(x + given[0])):
                grid[int(y)][dark] = 0
            x += given[0]
        else:
            x, y = (given[0], given[1]) if verb == "M" else (x + given[0], y + given[1])
    return [bytes(pixel for pixel in row for _ in range(scale)) for row in grid for _ in range(scale)]


@pytest.mark.parametrize("email", ["ada@example.com", "a" * 242 + "@example.com", "günther+neu&x=1@exämple.de"])
def test_both_pictures_hold_the_address(email: str) -> None:
    uri = pictures.otpauth_uri(codes.new_secret(), issuer="Nova Pulse & Söhne", email=email)
    drawn = pictures.draw(uri)
    kind, _, data = drawn.png_data_uri.partition(",")
    assert kind == "data:image/png;base64"
    assert read(pixels_of_png(base64.b64decode(data))) == uri
    assert read(pixels_of_svg(drawn.svg)) == uri
    assert drawn.svg.startswith("<svg")
    assert "script" not in drawn.svg


@pytest.mark.contract("NP-M-06")
def test_the_address_says_what_apps_must_know() -> None:
    uri = pictures.otpauth_uri("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", issuer="Nova Pulse", email="ada+x@example.com")
    assert uri == (
        "otpauth://totp/Nova%20Pulse:ada%2Bx%40example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
        "&issuer=Nova%20Pulse&algorithm=SHA1&digits=6&period=30"
    )
