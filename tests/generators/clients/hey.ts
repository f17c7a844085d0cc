// The calls of every client, with what @hey-api/openapi-ts writes.
import { client } from "./hey/client.gen";
import * as baton from "./hey/index";
import { key, told, url } from "./told";

async function main() {
  client.setConfig({ baseUrl: url, auth: key });

  const made = await baton.createTask({ body: { title: "Try it" } });
  const taskId = made.data!.data.id;
  told("create-task", made.response!.status, made.data!.data.version);

  const changed = await baton.updateTask({ body: { taskId, version: 1, title: "Try it again", priority: "high" } });
  told("update-task", changed.response!.status, changed.data!.data.version);

  const stale = await baton.updateTask({ body: { taskId, version: 1, title: "Lost" } });
  const conflict = stale.error!;
  told("stale", stale.response!.status, conflict.error.details?.current?.version);

  const listed = await baton.listTasksGet({ query: { status: ["open"], limit: 5 } });
  told("list-tasks", listed.response!.status, listed.data!.data.length);

  const read = await baton.getTaskGet({ query: { taskId } });
  told("get-task", read.response!.status, read.data!.data.title);

  const missing = await baton.getTask({ body: { taskId: "T-999" } });
  told("missing", missing.response!.status, missing.error!.error.code);

  const remark = await baton.commentOnTask({ body: { taskId, body: "Soon." }, headers: { "Idempotency-Key": "once" } });
  told("comment-on-task", remark.response!.status, remark.data!.data.body);

  const claimed = await baton.claimNextTask({ body: { waitSeconds: 0 } });
  told("claim-next-task", claimed.response!.status, claimed.data!.data.length);

  const finished = await baton.completeRun({
    body: { runId: claimed.data!.data[0]!.run.id, completeTask: true, output: { tries: 2 } },
  });
  told("complete-run", finished.response!.status, finished.data!.data.task!.status);

  const record = await baton.createTaskRecord({ body: { kind: "default", params: { retries: 3, deep: [{ a: "b" }] } } });
  told("create-task-record", record.response!.status, record.data!.params["retries"]);

  const inbox = await baton.getInbox();
  told("get-inbox", inbox.response!.status, inbox.data!.data.claims.length);
}

void main();
