-- Takes the entry away, with what it counted.

local deleted = redis.call('DEL', KEYS[1])
release(ARGV[1])
return { deleted, total() }
