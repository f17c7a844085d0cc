// The calls of every client, with openapi-fetch on the types of openapi-typescript.
import createClient from "openapi-fetch";

import type { paths } from "./schema";
import { key, told, url } from "./told";

async function main() {
  const baton = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${key}` } });

  const made = await baton.POST("/v1/agent/create-task", { body: { title: "Try it" } });
  const taskId = made.data!.data.id;
  told("create-task", made.response.status, made.data!.data.version);

  const changed = await baton.POST("/v1/agent/update-task", {
    body: { taskId, version: 1, title: "Try it again", priority: "high" },
  });
  told("update-task", changed.response.status, changed.data!.data.version);

  const stale = await baton.POST("/v1/agent/update-task", { body: { taskId, version: 1, title: "Lost" } });
  const conflict = stale.error!;
  told("stale", stale.response.status, "details" in conflict.error ? conflict.error.details?.current?.version : null);

  const listed = await baton.GET("/v1/agent/list-tasks", { params: { query: { status: ["open"], limit: 5 } } });
  told("list-tasks", listed.response.status, listed.data!.data.length);

  const read = await baton.GET("/v1/agent/get-task", { params: { query: { taskId } } });
  told("get-task", read.response.status, read.data!.data.title);

  const missing = await baton.POST("/v1/agent/get-task", { body: { taskId: "T-999" } });
  told("missing", missing.response.status, missing.error!.error.code);

  const remark = await baton.POST("/v1/agent/comment-on-task", {
    body: { taskId, body: "Soon." },
    params: { header: { "Idempotency-Key": "once" } },
  });
  told("comment-on-task", remark.response.status, remark.data!.data.body);

  const claimed = await baton.POST("/v1/agent/claim-next-task", { body: { waitSeconds: 0 } });
  told("claim-next-task", claimed.response.status, claimed.data!.data.length);

  const finished = await baton.POST("/v1/agent/complete-run", {
    body: { runId: claimed.data!.data[0]!.run.id, completeTask: true, output: { tries: 2 } },
  });
  told("complete-run", finished.response.status, finished.data!.data.task!.status);

  const record = await baton.POST("/v1/tasks", { body: { kind: "default", params: { retries: 3, deep: [{ a: "b" }] } } });
  told("create-task-record", record.response.status, record.data!.params["retries"]);

  const inbox = await baton.POST("/v1/agent/get-inbox");
  told("get-inbox", inbox.response.status, inbox.data!.data.claims.length);
}

void main();
