"""The Lua scripts: each step that has to be atomic is one of them. Redis runs a script as a whole or not at all.

An entry that was delivered stays in the group's list of pending entries, which knows how long it has been idle and how
often it was delivered. It is on lease while it has been idle for less than `LONGEST` milliseconds. A lease of s
milliseconds is granted by declaring the entry idle for ``LONGEST - s`` (``XCLAIM … IDLE``), so that programs need not
agree on a length, and a crashed receiver's leases end by themselves. The delivery count proves that a lease is held:
whoever takes an entry after its lease raises it. That is why one consumer name does for all, and none is left behind.

The facts are those of https://redis.io/docs/latest/commands/xclaim and its neighbours. ``redis.pcall`` hands the error
of a command on; ``redis.call`` would wrap it in a text that differs between versions.
"""

from __future__ import annotations

__all__ = ["BURY", "CHANGE", "LONGEST", "SEND", "TAKE"]

#: Milliseconds of the longest lease, and of the longest delay after which a message comes again: twelve hours.
LONGEST = 12 * 3600 * 1000

#: KEYS: stream. ARGV: for each message the number of fields and values that follow, and these. Gives the entries' ids.
SEND = """
if redis.call('EXISTS', KEYS[1]) == 0 then return redis.error_reply('NOGROUP there is no such stream') end
local ids, at = {}, 1
while at <= #ARGV do
  local last = at + tonumber(ARGV[at])
  local id = redis.pcall('XADD', KEYS[1], '*', unpack(ARGV, at + 1, last))
  if type(id) == 'table' then return id end
  ids[#ids + 1], at = id, last + 1
end
return ids
"""

#: KEYS: stream. ARGV: group, LONGEST, most entries, LONGEST less the lease. Gives pairs of entry and delivery count;
#: when there are none, the id after which the next entry will come.
TAKE = """
local key, group, longest, most, idle = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local ended = redis.pcall('XPENDING', key, group, 'IDLE', longest, '-', '+', most)
if ended.err then return ended end
local taken = {}
for _, pending in ipairs(ended) do
  local entry = redis.call('XCLAIM', key, group, 'clouddirect', longest, pending[1], 'IDLE', idle)[1]
  if entry then
    taken[#taken + 1] = {entry, pending[4] + 1}
  else
    redis.call('XACK', key, group, pending[1])  -- somebody deleted or trimmed it while it was pending
  end
end
if #taken < most then
  local new = redis.call('XREADGROUP', 'GROUP', group, 'clouddirect', 'COUNT', most - #taken, 'STREAMS', key, '>')
  for _, entry in ipairs(new and new[1][2] or {}) do
    redis.call('XCLAIM', key, group, 'clouddirect', 0, entry[1], 'IDLE', idle, 'RETRYCOUNT', 1, 'JUSTID')
    taken[#taken + 1] = {entry, 1}
  end
end
if #taken > 0 then return taken end
local last = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
return last and last[1] or '0-0'
"""

_HELD = """
local function held(id, count)
  local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], id, id, 1)
  if pending.err then return pending end
  return pending[1] ~= nil and pending[1][4] == tonumber(count)
end
"""

#: KEYS: stream. ARGV: group; the idle time to set, or ``ack``; what to add to the delivery count; then id and delivery
#: count of each delivery. Gives 1 for each that was held, else 0.
CHANGE = (
    _HELD
    + """
local group, idle, done = ARGV[1], ARGV[2], {}
for at = 4, #ARGV, 2 do
  local id, count = ARGV[at], ARGV[at + 1]
  local ours = held(id, count)
  if type(ours) == 'table' then return ours end
  if ours and idle == 'ack' then
    redis.call('XACK', KEYS[1], group, id)
    redis.call('XDEL', KEYS[1], id)
  elseif ours then
    redis.call('XCLAIM', KEYS[1], group, 'clouddirect', 0, id, 'IDLE', idle, 'RETRYCOUNT', count + ARGV[3], 'JUSTID')
  end
  done[#done + 1] = ours and 1 or 0
end
return done
"""
)

#: KEYS: stream, dead-letter stream. ARGV: group, id, delivery count, then fields and values of the dead letter. Gives 1
#: if the delivery was held, else 0.
BURY = (
    _HELD
    + """
local ours = held(ARGV[2], ARGV[3])
if type(ours) == 'table' then return ours end
if not ours then return 0 end
local buried = redis.pcall('XADD', KEYS[2], '*', unpack(ARGV, 4))
if type(buried) == 'table' then return buried end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
return 1
"""
)
