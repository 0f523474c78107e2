-- Bucket::take in limiter.rs, on the server.
--
-- ARGV[3]  increment in ns
-- ARGV[4]  capacity in ns
-- The cell is `seconds:nanoseconds` since 1970: when the next take is due.

local increment, capacity = tonumber(ARGV[3]), tonumber(ARGV[4])
local now_ns = now_us * 1000
local cell = redis.call('GET', KEYS[1])
local ahead = 0
if cell then
  local due_s, due_ns = string.match(cell, '^(%d+):(%d+)$')
  ahead = math.max((due_s - now_s) * 1000000000 + (due_ns - now_ns), 0)
elseif not has_room() then
  return { -1 }
end

local function keep_ahead(ns)
  local sum = now_ns + ns
  local due_s, due_ns = now_s + math.floor(sum / 1000000000), sum % 1000000000
  keep(digits(due_s) .. ':' .. digits(due_ns), math.ceil(ns / 1000))
end

-- At most the capacity, so that a clock that was set back locks nobody out.
if ahead > capacity then
  ahead = capacity
  keep_ahead(ahead)
end
local filled = ahead + increment
local allowed = filled <= capacity
local retry = 0
if allowed then
  keep_ahead(filled)
else
  retry = filled - capacity
  filled = ahead
end
local remaining = math.floor((capacity - filled) / increment)
return { allowed and 1 or 0, remaining, filled, retry, redis.call('ZCARD', KEYS[2]) }
