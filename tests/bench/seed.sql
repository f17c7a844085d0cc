-- The world the load meets. The setting bench.rows says how many tasks.
--
-- Workspace 0 holds the first 100,000 tasks, on which all measuring is done (world.py says which are for what),
-- and half of the others; the rest lies in workspaces 1 to 19. Everybody's API key is baton_sk_bench_ and their
-- number: 0 to 31 are workers, who created the tasks and have them; 32 to 63 are readers, who have 64 tasks each
-- and nothing else; 64 is a newcomer, who takes part in fifty; 65 to 96 are claimers, who have nothing yet: the tasks in
-- their channel, `queue`, are nobody's.

SET session_replication_role = replica;      -- no foreign key look-ups: what is written here is consistent
SET maintenance_work_mem = '512MB';

CREATE FUNCTION pg_temp.workspace(w bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
    RETURN ('00000000-0000-7000-9000-' || lpad(w::text, 12, '0'))::uuid;
CREATE FUNCTION pg_temp.agent(a bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
    RETURN ('00000000-0000-7000-a000-' || lpad(a::text, 12, '0'))::uuid;
CREATE FUNCTION pg_temp.task(k bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
    RETURN ('00000000-0000-7000-8000-' || lpad(k::text, 12, '0'))::uuid;

INSERT INTO workspaces (id, slug, name)
SELECT pg_temp.workspace(w), 'bench-' || w, 'Bench ' || w FROM generate_series(0, 19) w;

INSERT INTO task_counters (workspace_id, last_number)
SELECT pg_temp.workspace(w), current_setting('bench.rows')::int FROM generate_series(0, 19) w;

INSERT INTO identities (workspace_id, id, kind, handle, name)
SELECT pg_temp.workspace(w), pg_temp.agent(a), 'agent', 'agent-' || a, 'Agent ' || a
  FROM generate_series(0, 19) w, generate_series(0, 96) a;

INSERT INTO api_keys (workspace_id, id, identity_id, hash, prefix, scopes)
SELECT pg_temp.workspace(0), pg_temp.agent(a), pg_temp.agent(a),
       sha256(convert_to('baton_sk_bench_' || lpad(a::text, 4, '0'), 'UTF8')), 'baton_sk_bench', ARRAY['task-read', 'task-write']
  FROM generate_series(0, 96) a;

INSERT INTO channels (workspace_id, id, name)
SELECT pg_temp.workspace(w), pg_temp.workspace(w), 'general' FROM generate_series(0, 19) w;

INSERT INTO channel_members (workspace_id, channel_id, identity_id)
SELECT pg_temp.workspace(w), pg_temp.workspace(w), pg_temp.agent(a)
  FROM generate_series(0, 19) w, generate_series(0, 31) a;

INSERT INTO channels (workspace_id, id, name)
SELECT pg_temp.workspace(0), pg_temp.workspace(100), 'queue';

INSERT INTO channel_members (workspace_id, channel_id, identity_id)
SELECT pg_temp.workspace(0), pg_temp.workspace(100), pg_temp.agent(a) FROM generate_series(65, 96) a;

INSERT INTO channels (workspace_id, id, name)
SELECT pg_temp.workspace(0), pg_temp.workspace(200 + c), 'project-' || c FROM generate_series(0, 7) c;

INSERT INTO channel_members (workspace_id, channel_id, identity_id)
SELECT pg_temp.workspace(0), pg_temp.workspace(200 + a % 8), pg_temp.agent(a) FROM generate_series(0, 31) a;

-- Rows of about 1 kB where the measuring is done, of half that behind, so that ten million fit on a laptop's disk.
INSERT INTO tasks (workspace_id, id, number, title, description, status, priority,
                   assignee_id, assignee_kind, created_by_id, created_by_kind, channel_id, created_at, updated_at)
SELECT pg_temp.workspace(CASE WHEN k < 100000 OR k % 2 = 0 THEN 0 ELSE 1 + k / 2 % 19 END), pg_temp.task(k), k + 1,
       (ARRAY['Fix', 'Build', 'Review', 'Deploy', 'Measure'])[1 + k % 5]
           || (ARRAY[' the parser', ' an index', ' the server', ' a client', ' the planner', ' our cache', ' the queue'])[1 + k % 7]
           || ' w' || k * 7919 % 20011 || ' ',
       'w' || k * 31 % 20011 || ' ' || CASE WHEN k < 100000
           THEN repeat(md5(k::text) || (ARRAY[' when', ' because', ' after', ' unless'])[1 + k % 4] || ' ', 15)
           ELSE 'seen by ' || md5(k::text) || ' last week' END,
       CASE WHEN k < 100000 THEN 'todo' ELSE (ARRAY['todo', 'in_progress', 'done', 'done'])[1 + k / 2 % 4] END,
       CASE WHEN k < 100000 THEN 0 ELSE k / 2 % 5 END,
       pg_temp.agent(CASE WHEN k BETWEEN 8192 AND 10239 THEN 32 + k % 32 ELSE k % 32 END), 'agent',
       pg_temp.agent(k % 32), 'agent',
       CASE WHEN k >= 100000 AND k % 8 = 0 THEN pg_temp.workspace(0) END,
       now() - make_interval(secs => k % 1000000), now() - make_interval(secs => k % 1000000)
  FROM generate_series(0, current_setting('bench.rows')::bigint - 1) k;

UPDATE tasks SET assignee_id = NULL, assignee_kind = NULL, channel_id = pg_temp.workspace(100)
 WHERE workspace_id = pg_temp.workspace(0) AND id BETWEEN pg_temp.task(68000) AND pg_temp.task(99999);

UPDATE tasks SET channel_id = pg_temp.workspace(200 + (number - 1) % 8)
 WHERE workspace_id = pg_temp.workspace(0) AND id BETWEEN pg_temp.task(63904) AND pg_temp.task(67999);

INSERT INTO runs (workspace_id, id, kind, status, work_item_id, author_id, author_kind, started_at,
                  holder_id, holder_kind, attempt, lease_seconds, lease_expires_at, lease_check_at)
SELECT pg_temp.workspace(0), ('00000000-0000-7000-b000-' || lpad(k::text, 12, '0'))::uuid, 'claim', 'running', pg_temp.task(k),
       pg_temp.agent(k % 32), 'agent', now(), pg_temp.agent(k % 32), 'agent', 1, 86400, now() + interval '1 day', now() + interval '1 day'
  FROM generate_series(10304, 11903) k;

UPDATE tasks t SET status = 'in_progress', started_at = now(), run_id = r.id
  FROM runs r
 WHERE t.workspace_id = r.workspace_id AND t.id = r.work_item_id;

INSERT INTO task_participants (workspace_id, identity_id, task_id)
SELECT workspace_id, created_by_id, id FROM tasks
 UNION
SELECT workspace_id, assignee_id, id FROM tasks WHERE assignee_id IS NOT NULL;

INSERT INTO task_participants (workspace_id, identity_id, task_id)      -- everybody may race for these
SELECT pg_temp.workspace(0), pg_temp.agent(a), pg_temp.task(k) FROM generate_series(0, 31) a, generate_series(10240, 10303) k
    ON CONFLICT DO NOTHING;

INSERT INTO task_participants (workspace_id, identity_id, task_id)
SELECT pg_temp.workspace(0), pg_temp.agent(64), pg_temp.task(n * (current_setting('bench.rows')::bigint / 50) / 2 * 2)
  FROM generate_series(0, 49) n
    ON CONFLICT DO NOTHING;

INSERT INTO task_search (workspace_id, task_id, words)
SELECT workspace_id, id, lower(title || chr(10) || coalesce(description, '')) FROM tasks;

INSERT INTO task_events (workspace_id, task_id, version, kind, actor_id, actor_kind, request_id)
SELECT workspace_id, id, 1, 'created', created_by_id, created_by_kind, 'seed' FROM tasks;
