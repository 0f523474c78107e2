-- Shared by gcra.lua and window.lua, which follow it.
--
-- KEYS[1]  the cell
-- KEYS[2]  the names of the plugin's cells, by the microsecond at which each goes
-- ARGV[1]  the cell's name there
-- ARGV[2]  the most cells that the plugin may have
--
-- The time is the server's: hosts that share a limit must share a clock, or the one whose clock
-- is ahead would begin the next window early and let more pass than the limit.
--
-- Answers { allowed, remaining, reset in ns, retry after in ns, cells }, or { -1 } when there is
-- no room for another cell. Numbers are doubles, exact up to 2^53: microseconds since 1970 and
-- the nanoseconds of 49 days (2^32 ms) both fit.

local time = redis.call('TIME')
local now_s, now_us = tonumber(time[1]), tonumber(time[2])
local now = now_s * 1000000 + now_us

local function digits(number)
  return string.format('%.0f', number)
end

local function has_room()
  local live = redis.call('ZCOUNT', KEYS[2], '(' .. digits(now), '+inf')
  if live >= tonumber(ARGV[2]) then
    return false
  end
  -- More than one for each that is added, so that what is gone never piles up.
  local gone = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', digits(now), 'LIMIT', 0, 100)
  if #gone > 0 then
    redis.call('ZREM', KEYS[2], unpack(gone))
  end
  return true
end

local function keep(cell, left_us)
  local left_ms = math.max(1, math.ceil(left_us / 1000))
  redis.call('SET', KEYS[1], cell, 'PX', digits(left_ms))
  redis.call('ZADD', KEYS[2], digits(now + left_us), ARGV[1])
  if redis.call('PTTL', KEYS[2]) < left_ms then
    redis.call('PEXPIRE', KEYS[2], digits(left_ms))
  end
end
