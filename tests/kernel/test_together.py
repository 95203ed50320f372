"""Calls of one moment as one question: who shares it, who waits, and whom a failure or a cancelled call reaches."""

import asyncio
from collections.abc import Sequence

import pytest

from mainstay.kernel.together import Together


class Asked:
    """Answers tenfold once it is let; what it was asked, and with how much time."""

    def __init__(self, *, is_let: bool = True, lanes: int = 1, most: int = 64) -> None:
        self.questions: list[list[int]] = []
        self.left: list[float] = []
        self.let = asyncio.Event()
        if is_let:
            self.let.set()
        self.together: Together[int, int] = Together(self._answer, timeout_seconds=30.0, lanes=lanes, most=most)

    async def _answer(self, calls: Sequence[int], left: float) -> list[int]:
        self.questions.append(list(calls))
        self.left.append(left)
        await self.let.wait()
        if 0 in calls:
            raise LookupError("zero")
        return [one * 10 for one in calls]

    async def all_of(self, *calls: int) -> list[int | BaseException]:
        """What becomes of these, called at once."""
        return await asyncio.gather(*(self.together.ask(one) for one in calls), return_exceptions=True)


async def test_calls_of_one_turn_are_one_question() -> None:
    asked = Asked(most=4)
    assert await asked.together.ask(7) == 70
    assert await asked.all_of(*range(1, 10)) == [one * 10 for one in range(1, 10)]
    assert asked.questions == [[7], [1, 2, 3, 4], [5, 6, 7, 8], [9]]


@pytest.mark.parametrize("first", [[1], [1, 2]])
async def test_what_comes_while_a_question_is_open_waits_for_the_next(first: list[int]) -> None:
    asked = Asked(is_let=False)
    calls = [asyncio.create_task(asked.all_of(*first))]
    while not asked.questions:
        await asyncio.sleep(0)
    calls += [asyncio.create_task(asked.all_of(one)) for one in (3, 4)]
    await asyncio.sleep(0.01)
    assert asked.questions == [first]
    asked.let.set()
    found = [one for some in await asyncio.gather(*calls) for one in some]
    assert found == [one * 10 for one in (*first, 3, 4)]
    assert asked.questions == [first, [3, 4]]
    # Who waited has that much less time: no call takes longer in all than was told.
    assert asked.left[1] < 30.0


async def test_a_failure_is_of_those_who_asked_together() -> None:
    asked = Asked(most=2)
    found = await asked.all_of(1, 0, 3)
    assert [type(one) for one in found] == [LookupError, LookupError, int]
    with pytest.raises(LookupError):
        await asked.together.ask(0)
    assert await asked.together.ask(5) == 50


async def test_a_cancelled_call_takes_no_other_with_it() -> None:
    asked = Asked(is_let=False)
    gathers, other = [asyncio.create_task(asked.together.ask(one)) for one in (1, 2)]
    await asyncio.sleep(0)
    gathers.cancel()
    while not asked.questions:
        await asyncio.sleep(0)
    waits, last = [asyncio.create_task(asked.together.ask(one)) for one in (3, 4)]
    await asyncio.sleep(0)
    waits.cancel()
    asked.let.set()
    assert await asyncio.gather(other, last) == [20, 40]
    alone = asyncio.create_task(asked.together.ask(5))
    await asyncio.sleep(0)
    alone.cancel()
    await asyncio.wait({alone, gathers, waits})
    assert await asked.together.ask(6) == 60
    assert asked.questions == [[2], [4], [6]]
