"""Limits counted in Redis: calls of one moment in one script, by the clock of Redis, and no key without an expiry."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from mainstay.kernel.redis import Redis, Script
from mainstay.kernel.together import Together
from mainstay.limits.store import CHECK, CHECK_KEY, Rule, Taken

# A key holds {when, number, when, number …}, oldest first, packed, in microseconds since 1970. Only what was taken is
# written, and with it the expiry, so that refused calls keep nothing alive. Hits that lie more than a window ahead are
# of a clock that was set back, and count from now: nobody waits longer than two windows.
_READ = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if ARGV[1] ~= '0' then now = tonumber(ARGV[1]) end
local function read(key)
  local text = redis.pcall('GET', key)
  local is_read, hits = false, nil
  if type(text) == 'string' then is_read, hits = pcall(cmsgpack.unpack, text) end
  if not is_read or type(hits) ~= 'table' then hits = {} end
  local one = {hits = hits, first = 1, last = #hits - 1, used = 0, window = 0, changed = false}
  for i = 2, #hits, 2 do one.used = one.used + hits[i] end
  return one
end
local function forget(one, window)
  local hits, first = one.hits, one.first
  while first <= one.last and hits[first] <= now - window do
    one.used = one.used - hits[first + 1]
    first = first + 2
  end
  one.first, one.window = first, window
  if first <= one.last and hits[one.last] > now + window then
    one.hits, one.first, one.last = {now, one.used}, 1, 1
  end
end
local function keep(key, one)
  local hits = one.hits
  if one.first > one.last then
    redis.call('DEL', key)
    return
  end
  if one.first > 1 then
    hits = {}
    for i = one.first, one.last + 1 do hits[#hits + 1] = one.hits[i] end
  end
  local left = math.max(1, math.ceil((one.hits[one.last] + one.window - now) / 1000))
  redis.call('SET', key, cmsgpack.pack(hits), 'PX', left)
end
"""
_TAKE: Final = Script(
    _READ
    + """
local held, told, place = {}, {}, 0
for given in string.gmatch(ARGV[2], '[^;]+') do
  place = place + 1
  local key = KEYS[place]
  local window, cost, allowance, slot, peek = string.match(given, '(%d+) (%d+) (%d+) (%d+) (%d)')
  window, cost, allowance, slot = tonumber(window), tonumber(cost), tonumber(allowance), tonumber(slot)
  local one = held[key]
  if not one then
    one = read(key)
    held[key] = one
  end
  forget(one, window)
  local allowed, retry = one.used + cost <= allowance, 0
  if allowed and peek == '0' then
    local at = now
    if slot > 0 then at = (math.floor(now / slot) + 1) * slot end
    local hits, last = one.hits, one.last
    if one.first <= last and at <= hits[last] then
      hits[last + 1] = hits[last + 1] + cost
    else
      hits[last + 2], hits[last + 3], one.last = at, cost, last + 2
    end
    one.used, one.changed = one.used + cost, true
  end
  if not allowed then
    retry = window
    if cost <= allowance then
      local freed, i = 0, one.first - 2
      while freed < one.used + cost - allowance do
        i = i + 2
        freed = freed + one.hits[i + 1]
      end
      retry = one.hits[i] + window - now
    end
  end
  local reset = 0
  if one.first <= one.last then reset = one.hits[one.last] + window - now end
  told[place] = string.format('%d %.0f %.0f %.0f', allowed and 1 or 0, math.max(allowance - one.used, 0), retry, reset)
end
for key, one in pairs(held) do
  if one.changed then keep(key, one) end
end
return table.concat(told, ' ')
"""
)
_GIVE_BACK: Final = Script(
    _READ
    + """
local one, cost = read(KEYS[1]), tonumber(ARGV[3])
forget(one, tonumber(ARGV[2]))
while cost > 0 and one.first <= one.last do
  local number = one.first + 1
  local some = math.min(cost, one.hits[number])
  one.hits[number], cost = one.hits[number] - some, cost - some
  if one.hits[number] == 0 then one.first = one.first + 2 end
end
keep(KEYS[1], one)
"""
)


class _Call(NamedTuple):
    key: str
    rule: Rule
    cost: int
    peek: bool


class RedisStore:
    """The store of any number of nodes; `at_us`, for tests, is the time in microseconds in place of Redis's own."""

    kind = "redis"

    def __init__(self, redis: Redis, *, at_us: int = 0) -> None:
        self._redis = redis
        self._together = Together(self._take_all, timeout_seconds=redis.timeout_seconds)
        self.at_us = at_us

    async def take(self, key: str, rule: Rule, cost: int = 1, *, peek: bool = False) -> Taken:
        """As `Store.take`."""
        return await self._together.ask(_Call(key, rule, cost, peek))

    async def give_back(self, key: str, rule: Rule, cost: int, *, held_seconds: float) -> None:
        """As `Store.give_back`."""
        if held_seconds < rule.window.total_seconds():
            await self._redis.run(_GIVE_BACK, [key], [self.at_us, rule.window_us, cost])

    async def check(self) -> None:
        """As `Store.check`."""
        await self.take(CHECK_KEY, CHECK)

    async def close(self) -> None:
        """As `Store.close`."""
        await self._redis.close()

    async def _take_all(self, calls: Sequence[_Call], within_seconds: float) -> list[Taken]:
        asked = ";".join(
            f"{rule.window_us} {cost} {rule.allowance} {rule.slot_us} {peek:d}" for _, rule, cost, peek in calls
        )
        keys = [one.key for one in calls]
        answer = await self._redis.run(_TAKE, keys, [self.at_us, asked], within_seconds=within_seconds)
        told = iter(answer.split())
        return [
            Taken(allowed == b"1", one.rule.allowance, int(left), int(retry) / 1_000_000, int(reset) / 1_000_000)
            for one, allowed, left, retry, reset in zip(calls, told, told, told, told, strict=True)
        ]
