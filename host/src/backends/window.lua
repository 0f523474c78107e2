-- Window::take in limiter.rs, on the server.
--
-- ARGV[3]  limit
-- ARGV[4]  length in microseconds
-- The cell is `start:taken`, the start in microseconds since 1970.

local limit, length = tonumber(ARGV[3]), tonumber(ARGV[4])
local cell = redis.call('GET', KEYS[1])
local start, taken = now, 0
if cell then
  local began, counted = string.match(cell, '^(%d+):(%d+)$')
  began = tonumber(began)
  if began > now then
    -- A clock that was set back makes no window longer.
    began = now
    keep(digits(began) .. ':' .. counted, length)
  end
  if now < began + length then
    start, taken = began, tonumber(counted)
  end
elseif not has_room() then
  return { -1 }
end

local left = start + length - now
local allowed = taken < limit
local retry = 0
if allowed then
  taken = taken + 1
  keep(digits(start) .. ':' .. digits(taken), left)
else
  retry = left * 1000
end
local remaining = math.max(limit - taken, 0)
return { allowed and 1 or 0, remaining, left * 1000, retry, redis.call('ZCARD', KEYS[2]) }
