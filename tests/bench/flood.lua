-- A flood: everything that one key may call, as fast as it is answered. wrk ... -- KEY
--
-- It creates tasks, reads, searches, counts, lists tools, sends signs of life for a claim that it has not, claims what
-- there is, and calls what is not there. What it hears does not matter.

local requests, number = {}, 0

local function add(path, body)
   table.insert(requests, { path = path, body = body })
end

function init(args)
   add("/v1/agent/create-task", '{"title":"One of very many","priority":"high"}')
   add("/v1/agent/get-task", '{"taskId":"T-1"}')
   add("/v1/agent/search-tasks", '{"query":"very many"}')
   add("/v1/agent/list-tasks", '{"query":"man","includeTotal":true}')
   add("/v1/agent/heartbeat-run", '{"runId":"00000000-0000-7000-b000-000000000001"}')
   add("/v1/agent/list-my-tasks", "{}")
   add("/v1/agent/update-task", '{"taskId":"T-1","version":1,"title":"Another"}')
   add("/v1/agent/claim-next-task", '{"leaseSeconds":1}')
   add("/v1/agent/complete-task", '{"taskId":"T-2"}')
   add("/v1/agent/get-inbox", "{}")
   add("/mcp", '{"jsonrpc":"2.0","id":1,"method":"tools/list"}')
   add("/v1/agent/nothing", "{}")
   add("/v1/agent/create-task", '{"title":3}')
   for _, asked in ipairs(requests) do
      asked.text = "POST " .. asked.path .. " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
         .. "Accept: application/json, text/event-stream\r\nAuthorization: Bearer " .. args[1]
         .. "\r\nContent-Length: " .. #asked.body .. "\r\n\r\n" .. asked.body
   end
end

function request()
   number = number + 1
   return requests[number % #requests + 1].text
end
