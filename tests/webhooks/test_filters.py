"""Filters: what PostgreSQL makes of a compiled one equals a plain reading of it, and bad ones are refused."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import asyncpg
import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mainstay.webhooks import filters

MATCHES = "select coalesce($1::text::jsonb @@ $2::text::jsonpath, false)"


def matches(wanted: dict[str, Any], body: Any) -> bool:
    """A plain reading of a filter."""
    return all(_member(name, value, body) for name, value in wanted.items())


def _member(name: str, value: Any, body: Any) -> bool:
    if name == "$and":
        return all(matches(one, body) for one in value)
    if name == "$or":
        return any(matches(one, body) for one in value)
    if name == "$not":
        return not matches(value, body)
    found = list(_at(name.split("."), body))
    operators = value if isinstance(value, dict) else {"$eq": value}
    return all(_holds(operator, operand, found) for operator, operand in operators.items())


def _at(parts: list[str], value: Any) -> Iterator[Any]:
    """The values at a path; a list on the way stands for its elements."""
    if not parts:
        yield value
        return
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, dict) and parts[0] in one:
            yield from _at(parts[1:], one[parts[0]])


def _flat(values: Any, levels: int = 2) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list) and levels:
            yield from _flat(value, levels - 1)
        else:
            yield value


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "truth"
    return "number" if isinstance(value, int | float | Decimal) else type(value).__name__


def _holds(operator: str, operand: Any, found: list[Any]) -> bool:
    if operator == "$exists":
        return bool(found) is operand
    if operator in ("$ne", "$nin"):
        return not _holds("$eq" if operator == "$ne" else "$in", operand, found)
    if operator == "$in":
        return any(_holds("$eq", one, found) for one in operand)
    same = [value for value in _flat(found) if _kind(value) == _kind(operand) and not isinstance(value, dict | list)]
    if _kind(operand) == "number":
        operand, same = Decimal(repr(operand)), [Decimal(value) for value in same]
    if operator == "$startsWith":
        return any(value.startswith(operand) for value in same)
    test = {"$eq": "__eq__", "$gt": "__gt__", "$gte": "__ge__", "$lt": "__lt__", "$lte": "__le__"}[operator]
    return any(value is None or getattr(value, test)(operand) for value in same)


names = st.sampled_from(["a", "b", "type", 'q"uo', "back\\slash", "ünï", "with space", "@", "*", "last", "😀", "'"])
texts = st.one_of(
    st.sampled_from(["", "a", "ab", 'say "hi"', "\\", "\u2028", "😀", "$.a", "%", "'; drop", "\x7f"]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6),
)
numbers = st.one_of(st.integers(-3, 3), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
bodies = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=8,
).map(lambda inner: {"a": inner, "type": "x"})
paths = st.lists(names, min_size=1, max_size=3).map(".".join).map(lambda path: "a." + path if len(path) > 3 else path)
ordered = st.one_of(numbers, texts)
operators = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne"]), scalars),
    st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), ordered),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(scalars, min_size=1, max_size=3)),
    st.tuples(st.just("$exists"), st.booleans()),
    st.tuples(st.just("$startsWith"), texts.filter(bool)),
)
conditions = st.dictionaries(
    paths, st.one_of(scalars, st.lists(operators, min_size=1, max_size=2).map(dict)), min_size=1, max_size=2
)
wanted_filters = st.recursive(
    conditions,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda many: {"$or": many}),
        st.lists(inner, min_size=1, max_size=3).map(lambda many: {"$and": many}),
        inner.map(lambda one: {"$not": one}),
    ),
    max_leaves=4,
)


@pytest.fixture
async def connection(server_url: str) -> Any:
    connection = await asyncpg.connect(server_url)
    yield connection
    await connection.close()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=wanted_filters, body=bodies)
@example(wanted={"a": {"$gte": -0.0}}, body={"a": [[0]]})
@example(wanted={"a": {"$ne": 1}}, body={"a": [2, 1]})
@example(wanted={"$not": {"a": {"$gt": 5}}}, body={"a": "text"})
@example(wanted={"a.b": {"$lte": "b"}}, body={"a": [{"b": "a"}, {"b": None}]})
async def test_postgresql_reads_a_filter_as_it_is_written(
    connection: asyncpg.Connection, wanted: dict[str, Any], body: Any
) -> None:
    if filters.faults_of(wanted):
        return
    text = orjson.dumps(body).decode()
    found = await connection.fetchval(MATCHES, text, filters.compile_filter(wanted))
    assert found is matches(wanted, json.loads(text, parse_float=Decimal)), (wanted, text)


@pytest.mark.parametrize(
    ("wanted", "match"),
    [
        ({"data.category": "security"}, True),
        ({"data.category": "billing"}, False),
        ({"data.payload.amount": {"$gte": 100, "$lt": 200}}, True),
        ({"data.payload.amount": {"$gt": 150}}, False),
        ({"data.payload.amount": {"$gt": "1"}}, False),
        ({"data.payload.tags": "b"}, True),
        ({"data.payload.tags": {"$nin": ["b", "c"]}}, False),
        ({"data.payload.lines.sku": "y"}, True),
        ({"data.payload.lines.sku": {"$startsWith": "x"}}, True),
        ({"data.missing": {"$ne": 1}}, True),
        ({"data.missing": {"$exists": False}}, True),
        ({"data.projectId": {"$exists": True}}, True),
        ({"data.projectId": None}, True),
        ({"data.missing": None}, False),
        ({"$or": [{"data.category": "billing"}, {"data.actorId": "u-1"}]}, True),
        ({"$not": {"data.category": "security"}}, False),
        ({"$and": [{"data.category": "security"}, {"type": {"$in": ["invoice.paid", "x"]}}]}, True),
    ],
)
async def test_what_a_filter_means(connection: asyncpg.Connection, wanted: dict[str, Any], match: bool) -> None:
    body = {
        "type": "invoice.paid",
        "data": {
            "category": "security",
            "actorId": "u-1",
            "projectId": None,
            "payload": {"amount": 150, "tags": ["a", "b"], "lines": [{"sku": "x1"}, {"sku": "y"}]},
        },
    }
    assert filters.faults_of(wanted) == []
    assert await connection.fetchval(MATCHES, json.dumps(body), filters.compile_filter(wanted)) is match
    assert matches(wanted, body) is match


def nested(depth: int) -> dict[str, Any]:
    """A filter of that depth."""
    wanted: dict[str, Any] = {"a": 1}
    for _ in range(depth - 1):
        wanted = {"$not": wanted}
    return wanted


def sized(size: int) -> dict[str, Any]:
    """A filter of that many bytes."""
    return {"a": "x" * (size - len(b'{"a":""}'))}


@pytest.mark.parametrize(
    ("wanted", "pointer"),
    [
        ({}, "#/filter"),
        ({"a": []}, "#/filter/a"),
        ({"a": {}}, "#/filter/a"),
        ({"a": {"$regex": "x"}}, "#/filter/a/$regex"),
        ({"a": {"b": 1}}, "#/filter/a/b"),
        ({"a": {"$eq": {}}}, "#/filter/a/$eq"),
        ({"a": {"$eq": "\0"}}, "#/filter/a/$eq"),
        ({"a": {"$gt": None}}, "#/filter/a/$gt"),
        ({"a": {"$gt": True}}, "#/filter/a/$gt"),
        ({"a": {"$in": []}}, "#/filter/a/$in"),
        ({"a": {"$in": ["x"] * 51}}, "#/filter/a/$in"),
        ({"a": {"$in": [[1]]}}, "#/filter/a/$in"),
        ({"a": {"$exists": 1}}, "#/filter/a/$exists"),
        ({"a": {"$startsWith": ""}}, "#/filter/a/$startsWith"),
        ({"a..b": 1}, "#/filter/a..b"),
        ({"": 1}, "#/filter/"),
        ({"a.$b": 1}, "#/filter/a.$b"),
        ({"x/y~z\0": 1}, "#/filter/x~1y~0z\0"),
        ({"a" * 257: 1}, "#/filter/" + "a" * 257),
        ({"$or": []}, "#/filter/$or"),
        ({"$or": {"a": 1}}, "#/filter/$or"),
        ({"$or": [{"a": 1}, {}]}, "#/filter/$or/1"),
        ({"$not": [{"a": 1}]}, "#/filter/$not"),
        ({"$nor": [{"a": 1}]}, "#/filter/$nor"),
        (nested(6), "#/filter/$not/$not/$not/$not/$not"),
        (sized(8_193), "#/filter"),
        ({f"f{n}": n for n in range(51)}, "#/filter"),
    ],
)
def test_bad_filters_are_refused_with_a_pointer(wanted: Any, pointer: str) -> None:
    assert [fault.pointer for fault in filters.faults_of(wanted)] == [pointer]


def test_the_limits_of_a_filter_are_met_at_their_edges() -> None:
    many = {f"f{n}": n for n in range(50)}
    for wanted in (nested(5), sized(8_192), many, {"a": {"$in": ["x"] * 50}}, {"a" * 256: 1}):
        assert filters.faults_of(wanted) == []
