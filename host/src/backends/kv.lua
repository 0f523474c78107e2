-- Shared by kv_set.lua and kv_delete.lua, which follow it.
--
-- KEYS[1]  the value
-- KEYS[2]  what each of the plugin's entries counts against its bound of bytes, by name
-- KEYS[3]  the names of those that expire, by the millisecond at which they do
-- KEYS[4]  the sum of what they count
-- ARGV[1]  the entry's name
--
-- Values expire by themselves; what they counted is given back here, when something is set.
-- Answers { 1 done or 0 not, bytes }, or { -1 } when the bound is reached.

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function digits(number)
  return string.format('%.0f', number)
end

local function total()
  return tonumber(redis.call('GET', KEYS[4]) or 0)
end

local function release(name)
  local cost = redis.call('HGET', KEYS[2], name)
  if cost then
    redis.call('HDEL', KEYS[2], name)
    redis.call('ZREM', KEYS[3], name)
    if redis.call('DECRBY', KEYS[4], cost) <= 0 then
      redis.call('DEL', KEYS[4])
    end
  end
end

-- Gives back what up to 100 expired entries counted; how many there were.
local function sweep()
  local gone = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', digits(now_ms), 'LIMIT', 0, 100)
  for _, name in ipairs(gone) do
    release(name)
  end
  return #gone
end
