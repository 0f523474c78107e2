-- ARGV[2]  value
-- ARGV[3]  what the entry counts, in bytes
-- ARGV[4]  the most that the plugin's entries may count
-- ARGV[5]  time to live in milliseconds, or nothing
-- ARGV[6]  nothing, `absent` or `equal`: what must be there for the value to be set
-- ARGV[7]  the value that is expected, for `equal`

local present = redis.call('GET', KEYS[1])
if (ARGV[6] == 'absent' and present) or (ARGV[6] == 'equal' and present ~= ARGV[7]) then
  return { 0, total() }
end
sweep()
local cost, most = tonumber(ARGV[3]), tonumber(ARGV[4])
local function wanted()
  return total() - tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or 0) + cost
end
while wanted() > most do
  if sweep() == 0 then
    return { -1 }
  end
end
release(ARGV[1])
if ARGV[5] == '0' then
  redis.call('DEL', KEYS[1])
  return { 1, total() }
end
if ARGV[5] == '' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[5])
  redis.call('ZADD', KEYS[3], digits(now_ms + tonumber(ARGV[5])), ARGV[1])
end
redis.call('HSET', KEYS[2], ARGV[1], cost)
return { 1, redis.call('INCRBY', KEYS[4], cost) }
