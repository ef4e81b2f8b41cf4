//! The scripts, each of which Redis runs as a whole.
//!
//! `KEYS` are the entry, the names and the expiries; `ARGV[1]` is the key. A writing script is also given the record,
//! its time to live in milliseconds (0 for none) and, where it compares, the version that is expected. It answers
//! whether it wrote, what is there instead, and how long that stays.
//!
//! A record begins with a version that its writer made. A writing script that finds the very version which it is to
//! write has run before and its answer was lost: it says that it wrote.

use ::redis::Script;

/// What writing scripts have in common.
const WRITE: &str = r"
local function write()
  local clock = redis.call('TIME')
  local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
  local ttl = tonumber(ARGV[3])
  if ttl > 0 then
    local at = string.format('%.0f', now + ttl)
    redis.call('SET', KEYS[1], ARGV[2], 'PXAT', at)
    redis.call('ZADD', KEYS[3], at, ARGV[1])
  else
    redis.call('SET', KEYS[1], ARGV[2])
    redis.call('ZREM', KEYS[3], ARGV[1])
  end
  redis.call('ZADD', KEYS[2], 0, ARGV[1])
  -- More than one is taken out with each that comes, so that the names do not grow with what expired.
  local over = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', '(' .. string.format('%.0f', now), 'LIMIT', 0, 16)
  if #over > 0 then
    redis.call('ZREM', KEYS[2], unpack(over))
    redis.call('ZREM', KEYS[3], unpack(over))
  end
  return {1, false, 0}
end
local function version(record)
  return string.sub(record, 1, 8)
end
";

const ENTRY: &str = r"
return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}
";

const PUT: &str = r"
return write()
";

const PUT_IF_ABSENT: &str = r"
local found = redis.call('GET', KEYS[1])
if not found then
  return write()
end
if version(found) == version(ARGV[2]) then
  return {1, false, 0}
end
return {0, found, redis.call('PTTL', KEYS[1])}
";

const COMPARE_AND_SWAP: &str = r"
local found = redis.call('GET', KEYS[1])
if not found then
  return {0, false, 0}
end
if version(found) == version(ARGV[2]) then
  return {1, false, 0}
end
if version(found) ~= ARGV[4] then
  return {0, found, redis.call('PTTL', KEYS[1])}
end
return write()
";

/// With a second argument, only what has that version.
const DELETE: &str = r"
if ARGV[2] and redis.call('GETRANGE', KEYS[1], 0, 7) ~= ARGV[2] then
  return 0
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
return redis.call('DEL', KEYS[1])
";

/// `KEYS` are the names and the expiries; `ARGV` the least and the greatest name, how many to look at, and what stands
/// before the names of entries. Names of entries that are gone are taken out on the way.
const SCAN: &str = r"
local names = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])
local live = {}
for _, name in ipairs(names) do
  if redis.call('EXISTS', ARGV[4] .. name) == 1 then
    live[#live + 1] = name
  else
    redis.call('ZREM', KEYS[1], name)
    redis.call('ZREM', KEYS[2], name)
  end
end
return {#names, names[#names] or '', live}
";

/// The scripts, with their digests.
pub(super) struct Scripts {
    pub(super) entry: Script,
    pub(super) put: Script,
    pub(super) put_if_absent: Script,
    pub(super) compare_and_swap: Script,
    pub(super) delete: Script,
    pub(super) scan: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let writing = |rest: &str| Script::new(&format!("{WRITE}{rest}"));
        Self {
            entry: Script::new(ENTRY),
            put: writing(PUT),
            put_if_absent: writing(PUT_IF_ABSENT),
            compare_and_swap: writing(COMPARE_AND_SWAP),
            delete: Script::new(DELETE),
            scan: Script::new(SCAN),
        }
    }
}
