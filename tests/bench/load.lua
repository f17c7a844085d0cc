-- The load: what each connection of wrk asks next. wrk ... -- KIND FIRST COUNT VERSION CALLERS_FIRST CALLERS
--
-- Calls are numbered 0, 1, 2 …; number and arguments alone decide task, version and caller, so nothing has to be
-- read out of the answers and the generator stays cheap. A task comes around again only after COUNT other calls:
-- by then its last answer is long there. If ever it is not, the service says 409 and the run fails.
--
-- `race` is the exception: every connection changes one and the same task, under the newest version any of them
-- has seen, and the answers are counted.

local TASK, RUN = "00000000-0000-7000-8000-%012d", "00000000-0000-7000-b000-%012d"
local NAMES = { "low", "medium", "high", "urgent" }
local REASON = "Waiting for the review of the parser change; without it the numbers in the report would be wrong."

local kind, first, count, base, callers_first, callers
local number, heads = -1, {}
local threads = {}

wins, double_wins, conflicts, others, newest = 0, 0, 0, 0, 0   -- global: `done` reads them from the thread
local won = {}

function setup(thread)
   table.insert(threads, thread)
end

function init(args)
   kind, first, count, base = args[1], tonumber(args[2]), tonumber(args[3]), tonumber(args[4])
   callers_first, callers, newest = tonumber(args[5]), tonumber(args[6]), tonumber(args[4])
   for i = 0, callers - 1 do
      heads[i] = "POST " .. wrk.path .. " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
         .. (kind == "mcp" and "Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-11-25\r\n" or "")
         .. string.format("Authorization: Bearer baton_sk_bench_%04d\r\nContent-Length: ", callers_first + i)
   end
   if kind ~= "race" then response = nil end   -- wrk then does not even parse the answers' headers for us
end

local function task(k) return string.format(TASK, k) end

-- Work in progress moves on: its status changes with every call, its priority, which is sent along, only with the first.
local function change(k, version, priority)
   return string.format('{"taskId":"%s","version":%d,"status":"%s","priority":"%s"}', task(k), version,
      version % 2 == 0 and "in_review" or "in_progress", priority or "high")
end

local function version() return base + math.floor(number / count) end

local bodies
bodies = {
   update = function() return change(first + number % count, version()) end,
   priority = function() return change(first + number % count, version(), NAMES[version() % 4 + 1]) end,
   bound = function() return bodies.update() end,
   keyed = function() return string.format('%s,"idempotencyKey":"%d"}', bodies.update():sub(1, -2), number) end,
   complete = function() return '{"taskId":"' .. task(first + number) .. '"}' end,
   block = function() return '{"taskId":"' .. task(first + number) .. '","reason":"' .. REASON .. '"}' end,
   comment = function() return '{"taskId":"' .. task(first + number % count) .. '","body":"' .. REASON .. '"}' end,
   get = function() return '{"taskId":"' .. task(first + number % count) .. '"}' end,
   list = function() return "{}" end,
   visible = function() return "{}" end,
   search = function() return '{"query":"w' .. number % 20011 .. ' "}' end,
   claim = function() return "{}" end,
   heartbeat = function() return '{"runId":"' .. string.format(RUN, first + number % count) .. '","progress":0.5}' end,
   mcp = function()
      return '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"update-task","arguments":' .. bodies.update() .. '}}'
   end,
   race = function() return change(first, newest) end,
}
local once = { complete = true, block = true, claim = true }

local verified = false   -- wrk asks once before the start, to see what a request looks like

function request()
   if verified then number = number + 1 else verified = true; number = 0; local r = compose(); number = -1; return r end
   if once[kind] and number >= count then return "GET /the-pool-of-tasks-ran-dry HTTP/1.1\r\nHost: localhost\r\n\r\n" end
   return compose()
end

function compose()
   local body = bodies[kind]()
   return heads[(first + number) % callers] .. #body .. "\r\n\r\n" .. body
end

function response(status, headers, body)
   local version = tonumber(string.match(body, '"version" ?: ?(%d+)') or 0)
   if status == 200 then
      wins = wins + 1
      if won[version] then double_wins = double_wins + 1 end
      won[version] = true
   elseif status == 409 then
      conflicts = conflicts + 1
   else
      others = others + 1
   end
   if version > newest then newest = version end
end

function done(summary, latency)
   local errors, thread = summary.errors, threads[1]
   io.write(string.format(
      'RESULT {"calls":%d,"microseconds":%d,"p50_us":%d,"p99_us":%d,"refused":%d,"broken":%d,'
         .. '"wins":%d,"double_wins":%d,"conflicts":%d,"others":%d}\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), errors.status,
      errors.connect + errors.read + errors.write + errors.timeout,
      thread:get("wins"), thread:get("double_wins"), thread:get("conflicts"), thread:get("others")))
end
