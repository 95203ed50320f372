"""The address of a factor that apps take over, as text and as a QR code. Pure."""

from dataclasses import dataclass

import pyotp
import segno

from mainstay.mfa.codes import DIGITS, STEP_SECONDS

_PIXELS = 5


@dataclass(frozen=True, slots=True)
class Pictures:
    """A QR code: as the address of a PNG, and as an SVG element to stand in a page."""

    png_data_uri: str
    svg: str


def otpauth_uri(secret: str, *, issuer: str, email: str) -> str:
    """The address that an app's camera reads; it says what all apps take for granted, too."""
    uri: str = pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=issuer)
    return f"{uri}&algorithm=SHA1&digits={DIGITS}&period={STEP_SECONDS}"


def draw(uri: str) -> Pictures:
    """The QR code of that address, dark on white with its quiet zone."""
    code = segno.make(uri, error="m", micro=False, boost_error=False)
    return Pictures(
        code.png_data_uri(scale=_PIXELS, dark="black", light="white"),
        code.svg_inline(scale=_PIXELS, dark="black", light="white", omitsize=False),
    )
