"""Limits counted in Redis: one script a call, by the clock of Redis, and no key without an expiry."""

from typing import Final

from mainstay.kernel.redis import Redis, Script
from mainstay.limits.store import Rule, Taken

# A key holds "when:number when:number …", oldest first, in microseconds since 1970. Only what was taken is written, and
# with it the expiry, so that refused calls keep nothing alive.
_READ = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if ARGV[1] ~= '0' then now = tonumber(ARGV[1]) end
local window = tonumber(ARGV[2])
local cost = tonumber(ARGV[3])
local hits, numbers, last, used = {}, {}, 0, 0
for at, number in string.gmatch(redis.call('GET', KEYS[1]) or '', '(%d+):(%d+)') do
  at, number = tonumber(at), tonumber(number)
  if at > now - window then
    last = last + 1
    hits[last], numbers[last], used = at, number, used + number
  end
end
local function keep(first)
  local parts = {}
  for i = first, last do
    parts[#parts + 1] = string.format('%.0f:%.0f', hits[i], numbers[i])
  end
  if #parts == 0 then
    redis.call('DEL', KEYS[1])
  else
    local left = math.max(1, math.ceil((hits[last] + window - now) / 1000))
    redis.call('SET', KEYS[1], table.concat(parts, ' '), 'PX', left)
  end
end
"""
_TAKE: Final = Script(
    _READ
    + """
local allowance, slot, peek = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6] == '1'
local allowed, retry = used + cost <= allowance, 0
if allowed and not peek then
  local at = now
  if slot > 0 then at = (math.floor(now / slot) + 1) * slot end
  if last > 0 and at <= hits[last] then
    numbers[last] = numbers[last] + cost
  else
    last = last + 1
    hits[last], numbers[last] = at, cost
  end
  used = used + cost
  keep(1)
end
if not allowed then
  retry = window
  if cost <= allowance then
    local freed, i = 0, 0
    while freed < used + cost - allowance do
      i = i + 1
      freed = freed + numbers[i]
    end
    retry = hits[i] + window - now
  end
end
local reset = 0
if last > 0 then reset = hits[last] + window - now end
return {allowed and 1 or 0, math.max(allowance - used, 0), retry, reset}
"""
)
_GIVE_BACK: Final = Script(
    _READ
    + """
local first = 1
while cost > 0 and first <= last do
  local some = math.min(cost, numbers[first])
  numbers[first], cost = numbers[first] - some, cost - some
  if numbers[first] == 0 then first = first + 1 end
end
keep(first)
"""
)


class RedisStore:
    """The store of any number of nodes; `at_us`, for tests, is the time in microseconds in place of Redis's own."""

    kind = "redis"

    def __init__(self, redis: Redis, *, at_us: int = 0) -> None:
        self._redis = redis
        self.at_us = at_us

    async def take(self, key: str, rule: Rule, cost: int = 1, *, peek: bool = False) -> Taken:
        """As `Store.take`."""
        args = [self.at_us, rule.window_us, cost, rule.allowance, rule.slot_us, int(peek)]
        allowed, remaining, retry_us, reset_us = await self._redis.run(_TAKE, [key], args)
        return Taken(allowed == 1, rule.allowance, remaining, retry_us / 1_000_000, reset_us / 1_000_000)

    async def give_back(self, key: str, rule: Rule, cost: int, *, held_seconds: float) -> None:
        """As `Store.give_back`."""
        if held_seconds < rule.window.total_seconds():
            await self._redis.run(_GIVE_BACK, [key], [self.at_us, rule.window_us, cost])

    async def check(self) -> None:
        """As `Store.check`."""
        await self._redis.ask("PING")

    async def close(self) -> None:
        """As `Store.close`."""
        await self._redis.close()
