-- Sends the request of the file that BENCH_REQUEST names: lines of headers, an empty line, the body.
-- {{token}} becomes BENCH_TOKEN. {{key}} becomes another key for every request: BENCH_RUN, 12
-- characters, and a counter. Writes what it saw as one line of JSON, after wrk's own report.

local path = os.getenv("BENCH_REQUEST")
local before, after, sent

local function read()
   local file = assert(io.open(path, "r"), "BENCH_REQUEST names no file")
   local head, body = file:read("*a"):match("^(.-)\n\n(.-)%s*$")
   file:close()
   assert(body, path .. ": no empty line after the headers")
   head = head:gsub("{{token}}", function() return os.getenv("BENCH_TOKEN") end)
   -- As long as a key, so that Content-Length is right.
   local stand_in = string.rep("@", 24)
   head, body = head:gsub("{{key}}", stand_in), body:gsub("{{key}}", stand_in)
   wrk.method, wrk.body = "POST", body
   for name, value in head:gmatch("([^\n:]+): *([^\n]*)") do
      wrk.headers[name] = value
   end
   return stand_in
end

function init()
   local stand_in = read()
   local text = wrk.format()
   local first, last = text:find(stand_in, 1, true)
   if first then
      before, after, sent = text:sub(1, first - 1), text:sub(last + 1), 0
      local run = assert(os.getenv("BENCH_RUN"), "BENCH_RUN is not set")
      request = function()
         sent = sent + 1
         return table.concat({ before, run, string.format("%012d", sent), after })
      end
   end
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      'JSON {"requests": %d, "bytes": %d, "micros": %d, "broken": %d, "refused": %d, "p50": %d, "p99": %d}\n',
      summary.requests, summary.bytes, summary.duration,
      errors.connect + errors.read + errors.write + errors.timeout, errors.status,
      latency:percentile(50), latency:percentile(99)))
end
