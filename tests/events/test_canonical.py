import gzip
import json
import math
import struct
import timeit
from pathlib import Path
from typing import Any

import orjson
import pytest
import rfc8785
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mainstay.events import canonical as module
from mainstay.events.canonical import NotCanonical, canonical, canonical_parsed, canonical_value, read_json

DATA = Path(__file__).parents[3] / "shared" / "data"
ORDINARY = (
    b'{"ip":"10.248.16.43","userAgent":"Boto3/1.26.165 Python/3.10.6 Linux/5.19.0-46","at":"2023-07-10T11:42:23.123Z",'
    b'"request":{"bucket":"baker221b-bucketsevidence","host":"s3.us-east-1.amazonaws.com","policy":""},"count":12,'
    b'"ok":true,"tags":["a","b",3],"name":"Benjamin Example","note":"changed limit, 1.5 to 2, by hand"}'
)


class Refused(Exception):
    pass


def by_the_book(raw: bytes) -> bytes:
    """The slow, plain statement of the rules, sharing no code with the room."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise Refused("duplicate")
        return dict(pairs)

    def whole(text: str) -> int:
        if len(text) > 20 or abs(int(text)) > 2**53 - 1:
            raise Refused("integer")
        return int(text)

    def constant(text: str) -> float:
        raise Refused(text)

    def check(value: Any, depth: int) -> None:
        if isinstance(value, str):
            if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
                raise Refused("text")
        elif isinstance(value, float):
            if math.isinf(value):
                raise Refused("infinite")
        elif isinstance(value, dict | list):
            if depth > 32:
                raise Refused("depth")
            for name in value if isinstance(value, dict) else ():
                check(name, depth)
            for item in value.values() if isinstance(value, dict) else value:
                check(item, depth + 1)

    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=members, parse_int=whole, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise Refused(str(error)) from error
    check(value, 1)
    return rfc8785.dumps(value)


def agree(raw: bytes) -> None:
    try:
        expected: bytes | None = by_the_book(raw)
    except Refused:
        expected = None
    if expected is None:
        with pytest.raises(NotCanonical):
            canonical(raw)
    else:
        assert canonical(raw) == expected
        assert canonical_parsed(json.loads(raw)) == expected
        assert canonical_parsed(orjson.loads(expected)) == expected
        assert rfc8785.dumps(read_json(expected)) == expected


LETTERS = st.sampled_from(
    [
        *'abz019 :,.{}[]"\\/-eE',
        *"\u00e9\u007f\u2028\ud7ff\ue000\ufb33\uffff\U0001f600\U00010000\U0010ffff",
        *"\b\t\n\f\r\x01\x1f",
    ]
)
ESCAPED = st.sampled_from(
    [r"\u0041", r"\/", r"\u001f", r"\u0022", r"\u003a", r"\u003A", r"\u007f", r"\u2028", r"\ud83d\ude00", r"\n", r"\\"]
)
HOSTILE = st.sampled_from([r"\u0000", r"\ud800", r"\udc00", r"\udc00\ud800", "\\x", "\x00"])


def quoted(letter: str) -> str:
    return json.dumps(letter, ensure_ascii=False)[1:-1]


def texts(hostile: bool) -> st.SearchStrategy[str]:
    kinds = [LETTERS.map(quoted), LETTERS.map(quoted), ESCAPED] + ([HOSTILE] if hostile else [])
    return st.lists(st.one_of(kinds), max_size=6).map(lambda letters: '"' + "".join(letters) + '"')


DOUBLES = (
    st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0]).filter(math.isfinite)
)
NUMBERS = st.one_of(
    st.integers(-(2**53) + 1, 2**53 - 1).map(str),
    st.integers(-20, 20).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(-1e6, 1e6).map(repr),
    DOUBLES.map(repr),
    st.sampled_from(["-0", "-0.0", "0.0", "1.0", "1E5", "1e21", "1e20", "1e-7", "1E-6", "0.0001", "0.00001", "1.5e15"]),
    st.tuples(st.integers(0, 9999), st.integers(0, 99999), st.integers(-330, 308)).map("{0[0]}.{0[1]}e{0[2]}".format),
)
BAD_NUMBERS = st.one_of(
    st.integers(2**53 - 2, 2**53 + 2).map(str),
    st.integers(-(2**53) - 2, -(2**53) + 2).map(str),
    st.integers(2**63 - 2, 2**66).map(str),
    st.sampled_from(["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "01", "1.", ".5", "+1", "9" * 5000, "1e"]),
)
SPACE = st.sampled_from(["", "", "", " ", "\n", "\t\r "])


@st.composite
def documents(draw: st.DrawFn, hostile: bool = False, depth: int = 0) -> str:
    kind = draw(st.integers(0, 5 if depth < 4 else 3))
    if kind == 0:
        return draw(texts(hostile))
    if kind == 1:
        return draw(st.one_of(NUMBERS, BAD_NUMBERS) if hostile else NUMBERS)
    if kind == 2:
        return draw(st.sampled_from(["true", "false", "null"]))
    if kind == 3:
        return draw(st.sampled_from(["{}", "[]", '"a:b"', '" :"', '"10.0.0.1"']))
    children = draw(st.lists(documents(hostile, depth + 1), max_size=4))
    space = draw(SPACE)
    if kind == 4:
        return "[" + f"{space},".join(children) + space + "]"
    names = draw(
        st.lists(
            texts(hostile), min_size=len(children), max_size=len(children), unique_by=None if hostile else json.loads
        )
    )
    return (
        "{"
        + ",".join(f"{space}{name}{space}:{space}{child}" for name, child in zip(names, children, strict=True))
        + "}"
    )


@settings(max_examples=600, deadline=None)
@given(documents())
@example('{"\ue000":1,"\U00010000":2,"\uffff":3}')
@example('{"":1,"a":"\\u003a"}')
@example('{"a":1.0,"b":-0.0,"c":1e21,"d":1E5,"e":-0}')
@example("[100000000000000000000.0,999999999999999900000.0,1e15,999999999999999.9]")
def test_valid_json_gets_the_bytes_of_the_rfc(raw: str) -> None:
    agree(raw.encode())


@settings(max_examples=600, deadline=None)
@given(documents(hostile=True))
@example('{"a":1,"a" :"\\":"}')
@example('{"a":1,"a":"\\u003a"}')
@example('{"a":1,"a":"\\u003A"}')
@example('{"a":1,"a":"\\u0022:"}')
@example('{"a":1.50000,"a":1e-4}')
@example('{"a":":","a":1}')
@example('{"\\u0061":1,"a":2}')
def test_hostile_json_is_refused_exactly_where_the_rules_say(raw: str) -> None:
    agree(raw.encode())


@settings(max_examples=300, deadline=None)
@given(documents(hostile=True).map(str.encode), st.integers(0, 200), st.binary(min_size=1, max_size=3))
def test_damaged_bytes_never_pass_for_something_else(raw: bytes, place: int, junk: bytes) -> None:
    agree(raw[:place] + junk + raw[place:])


@settings(max_examples=1500, deadline=None)
@given(DOUBLES)
def test_every_double_is_written_as_the_rfc_writes_it(number: float) -> None:
    agree(f"[{number!r}]".encode())


@pytest.mark.parametrize(
    ("raw", "detail", "pointer"),
    [
        ('{"a":{"b":[0,9007199254740992]}}', "integer beyond 2^53 - 1, send it as a string", "/a/b/1"),
        ('{"a":-9007199254740992}', "integer beyond 2^53 - 1, send it as a string", "/a"),
        ('{"a":123456789012345678901234567890}', "integer beyond 2^53 - 1, send it as a string", "/a"),
        ('{"a":1e400}', "number too large for a double", "/a"),
        ('{"a":NaN}', "NaN is not a JSON number", "/a"),
        ('{"a":[-Infinity]}', "-Infinity is not a JSON number", "/a/0"),
        ('{"x":{"a":1,"b":2,"a":3}}', "duplicate member name", "/x/a"),
        ('{"a/b~c":["\\ud800"]}', "lone surrogate", "/a~1b~0c/0"),
        ('{"a":{"\\udfff":1}}', "member name: lone surrogate", "/a"),
        ('{"a":"x\\u0000"}', "NUL character", "/a"),
        ('{"\\u0000":1}', "member name: NUL character", ""),
        ('{"a":}', "not valid JSON: expecting value at character 5", ""),
        ("[" * 33 + "]" * 33, "nested deeper than 32 levels", "/0" * 32),
        ("[" * 100_000, "nested deeper than 32 levels", ""),
        ("", "not valid JSON: expecting value at character 0", ""),
    ],
)
def test_a_refusal_says_what_and_where(raw: str, detail: str, pointer: str) -> None:
    with pytest.raises(NotCanonical) as caught:
        canonical(raw.encode())
    assert (caught.value.detail, caught.value.pointer) == (detail, pointer)


def test_invalid_utf8_names_the_byte() -> None:
    with pytest.raises(NotCanonical, match="not valid UTF-8 at byte 6"):
        canonical(b'{"a":"\xff"}')
    with pytest.raises(NotCanonical, match="not valid UTF-8"):
        canonical(b'"\xed\xa0\x80"')


@pytest.mark.parametrize("open_close", [("[", "]"), ('{"a":', "}")])
def test_depth_32_is_the_last_allowed(open_close: tuple[str, str]) -> None:
    opening, closing = open_close
    inner = "[]" if opening == "[" else "{}"
    allowed = (opening * 31 + inner + closing * 31).encode()
    assert canonical(allowed) == allowed
    with pytest.raises(NotCanonical, match="32 levels"):
        canonical((opening * 32 + inner + closing * 32).encode())
    with pytest.raises(NotCanonical, match="32 levels"):
        canonical_parsed(json.loads(opening * 32 + inner + closing * 32))


def test_integers_of_an_export_are_taken_only_in_the_digits_that_were_hashed() -> None:
    hashed = canonical(b'{"a":1e20}')
    assert hashed == b'{"a":100000000000000000000}'
    assert canonical_parsed(read_json(hashed)) == hashed
    assert canonical_parsed(json.loads(hashed)) == hashed
    for other in (b'{"a":100000000000000000001}', b'{"a":9007199254740993}'):
        with pytest.raises(NotCanonical):
            read_json(other)
        with pytest.raises(NotCanonical):
            canonical_parsed(json.loads(other))


@example({"id": "\\u0000"})
@example({"id": "u1", "name": "a\0\\u0000"})
@given(st.dictionaries(st.sampled_from(["email", "id", "name", "type"]), st.text(max_size=20)))
def test_an_actor_has_the_same_bytes_by_the_short_way(value: dict[str, str]) -> None:
    if any("\0" in text for text in value.values()):
        with pytest.raises(NotCanonical, match="NUL"):
            canonical_value(value)
    else:
        assert canonical_value(value) == rfc8785.dumps(value)


def test_an_actor_with_half_a_character_is_refused() -> None:
    with pytest.raises(NotCanonical) as caught:
        canonical_value({"id": "u1", "name": "\ud83d"})
    assert (caught.value.detail, caught.value.pointer) == ("lone surrogate", "/name")


@pytest.mark.parametrize(
    "raw",
    [
        ORDINARY,
        json.dumps(json.loads(ORDINARY), indent=2).encode(),
        b'{"amount":12.5,"text":"caf\\u00e9 \\n \xf0\x9f\x98\x80"}',
    ],
)
def test_ordinary_payloads_take_the_fast_way(raw: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(module, "_parse_exact")
    assert canonical(raw) == rfc8785.dumps(json.loads(raw))


def test_the_fast_way_is_fast() -> None:
    # Batches of a fraction of a millisecond: the best of them met nothing else on its core.
    best = min(timeit.repeat(lambda: canonical(ORDINARY), number=50, repeat=200)) / 50
    print(f"canonical, {len(ORDINARY)} bytes: {best * 1e6:.2f} us")
    assert best < 40e-6, "an ordinary payload costs about 3.5 us; ten times that means the exact way was taken"


@pytest.mark.parametrize("name", ["cloudtrail", "github-webhooks"])
def test_records_of_real_systems_get_the_bytes_of_the_rfc(name: str) -> None:
    path = DATA / f"{name}.ndjson.gz"
    if not path.exists():
        pytest.skip(f"the sample records are not beside the checkout: {path.name}")
    with gzip.open(path) as lines:
        for count, line in enumerate(lines, 1):
            assert canonical(line) == by_the_book(line), f"line {count}"
            if count == 400:
                break
