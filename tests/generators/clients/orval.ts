// The calls of every client, with what orval writes for fetch.
import * as baton from "./orval/client";
import { key, told } from "./told";

async function main() {
  const headers = { Authorization: `Bearer ${key}` };

  const made = await baton.createTask({ title: "Try it" }, { headers });
  if (made.status !== 200) throw new Error(made.data.error.message);
  const taskId = made.data.data.id;
  told("create-task", made.status, made.data.data.version);

  const changed = await baton.updateTask({ taskId, version: 1, title: "Try it again", priority: "high" }, { headers });
  if (changed.status !== 200) throw new Error(changed.data.error.message);
  told("update-task", changed.status, changed.data.data.version);

  const stale = await baton.updateTask({ taskId, version: 1, title: "Lost" }, { headers });
  if (stale.status !== 409) throw new Error("not a conflict");
  told("stale", stale.status, stale.data.error.details?.current?.version);

  const listed = await baton.listTasksGet({ status: ["open"], limit: 5 }, { headers });
  if (listed.status !== 200) throw new Error(listed.data.error.message);
  told("list-tasks", listed.status, listed.data.data.length);

  const read = await baton.getTaskGet({ taskId }, { headers });
  if (read.status !== 200) throw new Error(read.data.error.message);
  told("get-task", read.status, read.data.data.title);

  const missing = await baton.getTask({ taskId: "T-999" }, { headers });
  if (missing.status !== 404) throw new Error("it was found");
  told("missing", missing.status, missing.data.error.code);

  const remark = await baton.commentOnTask({ taskId, body: "Soon." }, { headers: { ...headers, "Idempotency-Key": "once" } });
  if (remark.status !== 200) throw new Error(remark.data.error.message);
  told("comment-on-task", remark.status, remark.data.data.body);

  const claimed = await baton.claimNextTask({ waitSeconds: 0 }, { headers });
  if (claimed.status !== 200) throw new Error(claimed.data.error.message);
  told("claim-next-task", claimed.status, claimed.data.data.length);

  const runId = claimed.data.data[0]!.run.id;
  const finished = await baton.completeRun({ runId, completeTask: true, output: { tries: 2 } }, { headers });
  if (finished.status !== 200) throw new Error(finished.data.error.message);
  told("complete-run", finished.status, finished.data.data.task!.status);

  const record = await baton.createTaskRecord({ kind: "default", params: { retries: 3, deep: [{ a: "b" }] } }, { headers });
  if (record.status !== 201) throw new Error(record.data.message);
  told("create-task-record", record.status, record.data.params["retries"]);

  const inbox = await baton.getInbox({}, { headers });
  if (inbox.status !== 200) throw new Error(inbox.data.error.message);
  told("get-inbox", inbox.status, inbox.data.data.claims.length);
}

void main();
