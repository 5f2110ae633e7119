"""The scripts of the Redis bus: each runs as a whole, so nobody sees half of it.

Keys and arguments are told above each. All keys of a market lie in one slot.
"""

from __future__ import annotations

from typing import Final

__all__ = ["LEAD", "LEAVE", "PUBLISH", "WANT", "WANTED"]

# lead, alive, heads; life, lease in ms. Returns rooms and their last numbers in turn.
LEAD: Final = """
redis.call('SET', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return redis.call('HGETALL', KEYS[3])
"""

# alive; life.
LEAVE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""

# lead, alive, heads, a stream for each room; life, lease in ms, records kept, seconds until a
# stream is forgotten, then for each record the place of its stream, room, id, kind, epoch,
# received_ms and data. Returns how many were there already, or -1 when somebody else leads.
# A Redis that lost everything has no leader: then it is still us.
PUBLISH: Final = """
local leads = redis.call('GET', KEYS[1])
if leads and leads ~= ARGV[1] then return -1 end
if not leads then redis.call('SET', KEYS[1], ARGV[1]) end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
local repeated, heads = 0, {}
for i = 5, #ARGV, 7 do
  local key = KEYS[3 + tonumber(ARGV[i])]
  local done = redis.pcall('XADD', key, 'MAXLEN', '~', ARGV[3], ARGV[i + 2],
    'k', ARGV[i + 3], 'e', ARGV[i + 4], 'm', ARGV[i + 5], 'd', ARGV[i + 6])
  if type(done) == 'table' and done.err then
    if not string.find(done.err, 'equal or smaller', 1, true) then
      return redis.error_reply(done.err)
    end
    repeated = repeated + 1
  else
    heads[ARGV[i + 1]] = string.match(ARGV[i + 2], '%d+')
  end
end
for room, head in pairs(heads) do redis.call('HSET', KEYS[3], room, head) end
for i = 4, #KEYS do redis.call('EXPIRE', KEYS[i], ARGV[4]) end
return repeated
"""

_NOW: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
"""

# leases, wants; holder, its rooms as JSON, lease in ms.
WANT: Final = (
    _NOW
    + """
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
"""
)

# leases, wants. Returns the JSON of each living holder.
WANTED: Final = (
    _NOW
    + """
for _, holder in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)) do
  redis.call('ZREM', KEYS[1], holder)
  redis.call('HDEL', KEYS[2], holder)
end
return redis.call('HVALS', KEYS[2])
"""
)
