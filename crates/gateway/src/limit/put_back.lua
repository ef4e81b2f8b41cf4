-- Gives back what a call took of each key, or ends what it had under way.
-- ARGV: the time in ms, or '' for the server's own; how many ms a key is kept that says nothing any more; then for each
-- key its kind and three numbers:
--   b interval at -              only what did not come back by itself since then
--   w leaves - -                 one call of that step
--   t ends amount -              nothing where the period is over
--   c name - -                   the lease
--   n keep - -                   no limit: the name of a call whose answer was lost. What follows it is given back if it
--                                was taken, once, as of then, and is not taken any more
--   o keep at sure               no limit: the name of a call that has ended. What follows it is given back once, unless
--                                it was lost: the name is not known for so many ms, or a count began after the call
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
local grace = tonumber(ARGV[2])
-- The field of a hash that says since when it counts; none: long since.
local FROM = '0'
-- When the call under a name took.
local taken

local function is_lost(key)
  return (tonumber(redis.call('HGET', key, FROM)) or 0) > taken
end

local function bucket(key, interval, at)
  local full_at = tonumber(redis.call('GET', key))
  local missing = tonumber(interval) - math.max(now - tonumber(at), 0)
  if not full_at or missing <= 0 then
    return
  end
  full_at = full_at - missing
  if full_at <= now then
    redis.call('DEL', key)
  else
    redis.call('SET', key, string.format('%.17g', full_at), 'PX', math.ceil(full_at - now) + grace)
  end
end

local function window(key, leaves)
  if is_lost(key) then
    return
  end
  local count = tonumber(redis.call('HGET', key, leaves)) or 0
  if count > 1 then
    redis.call('HINCRBY', key, leaves, -1)
  elseif count == 1 then
    redis.call('HDEL', key, leaves)
  end
end

local function total(key, ends, amount)
  local known = redis.call('HMGET', key, 'until', 'used')
  if known[1] == ends and not is_lost(key) then
    local used = math.max(tonumber(known[2]) - tonumber(amount), 0)
    redis.call('HSET', key, 'used', string.format('%.0f', used))
  end
end

local function under_way(key, name)
  redis.call('ZREM', key, name)
end

-- What the call under a name was told: the time, then three numbers for each of the limits that follow it.
local told, limit
-- Whether what follows a name is not to be given back: it was before, or it was lost.
local void

local function named(key, keep)
  local known = redis.call('GET', key)
  told, limit = known and cjson.decode(known) or {}, 0
  taken = tonumber(told[1])
  redis.call('SET', key, '[]', 'PX', keep)
end

local function once(key, keep, at, sure)
  local known = redis.call('GET', key)
  told, taken = nil, tonumber(at)
  void = known == '[]' or not known and now - taken < tonumber(sure)
  redis.call('SET', key, '[]', 'PX', keep)
end

local kinds = {b = bucket, w = window, t = total, c = under_way}
for i, key in ipairs(KEYS) do
  local at = (i - 1) * 4 + 3
  local kind, a, b = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if kind == 'n' then
    named(key, a)
  elseif kind == 'o' then
    once(key, a, b, ARGV[at + 3])
  elseif told then
    limit = limit + 1
    local reset = told[limit * 3 + 1]
    if kind == 'c' then
      under_way(key, a)
    elseif reset and kind == 'b' then
      bucket(key, a, told[1])
    elseif reset then
      kinds[kind](key, string.format('%.0f', reset), b)
    end
  elseif kind == 'c' or not void then
    kinds[kind](key, a, b)
  end
end
return 1
