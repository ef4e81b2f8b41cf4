-- Takes for all keys of a call, or for none of them, and not twice under one name.
-- ARGV: the time in ms, or '' for the server's own; how many ms a key is kept that says nothing any more; then for each
-- key its kind and three numbers:
--   b interval tolerance -       token bucket, as the moment at which it will be full (GCRA)
--   w max span grain             window, as a hash of steps by the moment at which they leave it
--   t max period amount          total of a period (d or m), as a hash of its end and what was used
--   c max lease name             calls under way, as a sorted set of leases by their end
--   n keep - -                   first, and no limit: the name of the call, which is remembered with the answer
-- Returns the time, then for each limit: -1 where the call fits, else ms until it might; what is left; when all is free.
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local grace = tonumber(ARGV[2])
local DAY = 86400000
-- The field of a hash that says since when it counts. Who reads it as a step of a window takes it for one that has left.
local FROM = '0'

-- Days to a date: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
local function next_month(days)
  local z = days + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local day = doy - math.floor((153 * mp + 2) / 5) + 1
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  local lengths = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}
  local length = lengths[month]
  if month == 2 and (year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)) then
    length = 29
  end
  return days - day + 1 + length
end

local function period_end(period)
  local days = math.floor(now / DAY)
  if period == 'm' then
    return next_month(days) * DAY
  end
  return (days + 1) * DAY
end

local reply, writes, fits_all = {now}, {}, true

local function answer(wait, left, reset)
  reply[#reply + 1] = wait
  reply[#reply + 1] = left
  reply[#reply + 1] = reset
  if wait >= 0 then
    fits_all = false
  end
end

local function bucket(key, interval, tolerance)
  interval, tolerance = tonumber(interval), tonumber(tolerance)
  local full_at = math.max(tonumber(redis.call('GET', key)) or now, now)
  local after = full_at + interval
  local fits = after - now <= tolerance + interval / 1000
  local ahead = fits and after or full_at
  local wait = fits and -1 or math.max(math.ceil(after - now - tolerance), 1)
  answer(wait, math.max(math.floor((tolerance - (ahead - now)) / interval + 0.001), 0), math.ceil(ahead))
  writes[#writes + 1] = function()
    redis.call('SET', key, string.format('%.17g', after), 'PX', math.ceil(after - now) + grace)
  end
end

local function window(key, max, span, grain)
  max, span, grain = tonumber(max), tonumber(span), tonumber(grain)
  local flat, inside, sum = redis.call('HGETALL', key), {}, 0
  for i = 1, #flat, 2 do
    local leaves = tonumber(flat[i])
    if leaves > now then
      inside[#inside + 1] = {leaves, tonumber(flat[i + 1])}
      sum = sum + inside[#inside][2]
    elseif flat[i] ~= FROM then
      redis.call('HDEL', key, flat[i])
    end
  end
  table.sort(inside, function(a, b) return a[1] < b[1] end)
  local leaves = (math.floor(now / grain) + 1) * grain - 1 + span
  local newest = inside[#inside] and inside[#inside][1] or 0
  if sum < max then
    answer(-1, max - sum - 1, leaves)
  else
    local behind, wait = sum, 1
    for _, step in ipairs(inside) do
      behind = behind - step[2]
      if behind < max then
        wait = step[1] - now
        break
      end
    end
    answer(wait, 0, newest)
  end
  writes[#writes + 1] = function()
    local step = math.max(leaves, newest)
    if #flat == 0 then
      redis.call('HSET', key, FROM, string.format('%.0f', now))
    end
    redis.call('HINCRBY', key, string.format('%.0f', step), 1)
    redis.call('PEXPIRE', key, step - now + grace)
  end
end

local function total(key, max, period, amount)
  max, amount = tonumber(max), tonumber(amount)
  local known = redis.call('HMGET', key, 'until', 'used')
  local ends, used = tonumber(known[1]) or 0, tonumber(known[2]) or 0
  if ends <= now then
    ends, used = period_end(period), 0
  end
  local sum = used + amount
  if sum <= max then
    answer(-1, max - sum, ends)
  else
    answer(ends - now, math.max(max - used, 0), ends)
  end
  writes[#writes + 1] = function()
    if not known[1] then
      redis.call('HSET', key, FROM, string.format('%.0f', now))
    end
    redis.call('HSET', key, 'until', string.format('%.0f', ends), 'used', string.format('%.0f', sum))
    redis.call('PEXPIRE', key, ends - now + grace)
  end
end

local function under_way(key, max, lease, name)
  max, lease = tonumber(max), tonumber(lease)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  local running = redis.call('ZCARD', key)
  -- A call that asks again, since its answer was lost, does not stand in its own way.
  if redis.call('ZSCORE', key, name) then
    running = running - 1
  end
  if running < max then
    answer(-1, max - running - 1, 0)
  else
    answer(0, 0, 0)
  end
  writes[#writes + 1] = function()
    redis.call('ZADD', key, now + lease, name)
    redis.call('PEXPIRE', key, lease + grace)
  end
end

local known
local function named(key, keep)
  known = redis.call('GET', key)
  writes[#writes + 1] = function()
    redis.call('SET', key, cjson.encode(reply), 'PX', keep)
  end
end

local kinds = {b = bucket, w = window, t = total, c = under_way, n = named}
for i, key in ipairs(KEYS) do
  local at = (i - 1) * 4 + 3
  kinds[ARGV[at]](key, ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
end
-- It asks again, since its answer was lost; or it comes after what it takes was given back, and nobody hears this.
if known then
  return cjson.decode(known)
end
if fits_all then
  for _, write in ipairs(writes) do
    write()
  end
end
return reply
