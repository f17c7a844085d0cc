SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE EXTENSION IF NOT EXISTS btree_gin WITH SCHEMA public;
COMMENT ON EXTENSION btree_gin IS 'support for indexing common datatypes in GIN';
CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;
COMMENT ON EXTENSION pg_trgm IS 'text similarity measurement and index searching based on trigrams';
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.api_keys (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    identity_id uuid NOT NULL,
    hash bytea NOT NULL,
    prefix text NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    last_used_at timestamp with time zone,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone
);
CREATE TABLE public.baton_schema (
    version integer NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE public.channel_members (
    workspace_id uuid NOT NULL,
    channel_id uuid NOT NULL,
    identity_id uuid NOT NULL,
    role text DEFAULT 'poster'::text NOT NULL,
    joined_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT channel_members_role_check CHECK ((role = ANY (ARRAY['reader'::text, 'poster'::text, 'admin'::text])))
);
CREATE TABLE public.channels (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    name text NOT NULL,
    kind text DEFAULT 'public'::text NOT NULL,
    purpose text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    archived_at timestamp with time zone,
    last_position bigint DEFAULT 0 NOT NULL,
    CONSTRAINT channels_kind_check CHECK ((kind = ANY (ARRAY['public'::text, 'private'::text, 'dm'::text]))),
    CONSTRAINT channels_name_check CHECK ((name ~ '^[a-z][a-z0-9-]{0,79}$'::text))
)
WITH (fillfactor='20');
CREATE TABLE public.idempotency_keys (
    workspace_id uuid NOT NULL,
    identity_id uuid NOT NULL,
    key text NOT NULL,
    operation text NOT NULL,
    scope text,
    fingerprint bytea NOT NULL,
    status smallint NOT NULL,
    error text,
    answer json NOT NULL,
    merged_from integer,
    version integer,
    request_id text NOT NULL,
    answered_at text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT idempotency_keys_fingerprint_check CHECK ((length(fingerprint) = 32)),
    CONSTRAINT idempotency_keys_key_check CHECK (((length(key) >= 1) AND (length(key) <= 255)))
);
CREATE TABLE public.identities (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    kind text NOT NULL,
    handle text NOT NULL,
    name text NOT NULL,
    email text,
    owner_id uuid,
    is_private boolean DEFAULT false NOT NULL,
    agent_type text DEFAULT 'local'::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT identities_email_check CHECK (((email IS NULL) OR (kind = 'user'::text))),
    CONSTRAINT identities_handle_check CHECK ((handle ~ '^[a-z0-9][a-z0-9-]{0,62}$'::text)),
    CONSTRAINT identities_kind_check CHECK ((kind = ANY (ARRAY['user'::text, 'agent'::text]))),
    CONSTRAINT identities_owner_check CHECK (((owner_id IS NULL) OR (kind = 'agent'::text))),
    CONSTRAINT identities_private_check CHECK (((NOT is_private) OR (owner_id IS NOT NULL)))
);
CREATE TABLE public.message_search (
    workspace_id uuid NOT NULL,
    message_id uuid NOT NULL,
    channel_id uuid NOT NULL,
    created_at timestamp with time zone NOT NULL,
    terms tsvector NOT NULL
);
CREATE TABLE public.messages (
    workspace_id uuid NOT NULL,
    channel_id uuid NOT NULL,
    "position" bigint NOT NULL,
    id uuid NOT NULL,
    parent_id uuid,
    sender_id uuid NOT NULL,
    sender_type text NOT NULL,
    kind text DEFAULT 'text'::text NOT NULL,
    content text NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    reply_count integer DEFAULT 0 NOT NULL,
    repliers uuid[] DEFAULT '{}'::uuid[] NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamp with time zone,
    CONSTRAINT messages_sender_type_check CHECK ((sender_type = ANY (ARRAY['human'::text, 'agent'::text, 'system'::text])))
)
WITH (fillfactor='90');
CREATE TABLE public.run_log (
    workspace_id uuid NOT NULL,
    run_id uuid NOT NULL,
    number integer NOT NULL,
    step jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE public.runs (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    kind text DEFAULT 'default'::text NOT NULL,
    status text DEFAULT 'created'::text NOT NULL,
    title text,
    description text,
    target_id text,
    executor_id text,
    input jsonb,
    output jsonb,
    params jsonb DEFAULT '{}'::jsonb NOT NULL,
    errors jsonb DEFAULT '[]'::jsonb NOT NULL,
    parent_id uuid,
    state_id uuid,
    app_id text,
    work_item_id uuid,
    author_id uuid NOT NULL,
    author_kind text NOT NULL,
    started_at timestamp with time zone,
    ended_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    holder_id uuid,
    holder_kind text,
    attempt integer,
    claim_key text,
    claim_place smallint,
    lease_seconds integer,
    lease_expires_at timestamp with time zone,
    lease_check_at timestamp with time zone,
    progress real,
    note text,
    handoff text,
    end_reason text,
    log_length integer DEFAULT 0 NOT NULL,
    CONSTRAINT runs_claim_check CHECK (((holder_id IS NULL) OR ((work_item_id IS NOT NULL) AND (attempt IS NOT NULL) AND (lease_expires_at IS NOT NULL) AND (lease_check_at IS NOT NULL) AND ((end_reason IS NULL) = (ended_at IS NULL))))),
    CONSTRAINT runs_kind_check CHECK ((kind ~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$'::text)),
    CONSTRAINT runs_parent_check CHECK ((parent_id <> id)),
    CONSTRAINT runs_status_check CHECK ((status = ANY (ARRAY['created'::text, 'queued'::text, 'waiting'::text, 'running'::text, 'paused'::text, 'completed'::text, 'failed'::text, 'cancelled'::text])))
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.02');
CREATE TABLE public.states (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    name text NOT NULL,
    root_id uuid NOT NULL,
    groups jsonb DEFAULT '[]'::jsonb NOT NULL,
    tags jsonb DEFAULT '[]'::jsonb NOT NULL,
    variables jsonb DEFAULT '[]'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT states_name_check CHECK (((length(name) >= 1) AND (length(name) <= 500)))
);
CREATE TABLE public.task_comments (
    workspace_id uuid NOT NULL,
    task_id uuid NOT NULL,
    id uuid NOT NULL,
    author_id uuid NOT NULL,
    author_kind text NOT NULL,
    body text NOT NULL,
    mentions jsonb DEFAULT '[]'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT task_comments_body_check CHECK (((length(body) >= 1) AND (length(body) <= 100000)))
);
CREATE TABLE public.task_counters (
    workspace_id uuid NOT NULL,
    last_number integer DEFAULT 0 NOT NULL
)
WITH (fillfactor='10');
CREATE TABLE public.task_events (
    workspace_id uuid NOT NULL,
    task_id uuid NOT NULL,
    version integer NOT NULL,
    subject_id uuid DEFAULT '00000000-0000-0000-0000-000000000000'::uuid NOT NULL,
    kind text NOT NULL,
    actor_id uuid NOT NULL,
    actor_kind text NOT NULL,
    request_id text NOT NULL,
    changes jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    seq bigint NOT NULL
);
ALTER TABLE public.task_events ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.task_events_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.task_participants (
    workspace_id uuid NOT NULL,
    identity_id uuid NOT NULL,
    task_id uuid NOT NULL
);
CREATE TABLE public.task_relations (
    workspace_id uuid NOT NULL,
    from_task_id uuid NOT NULL,
    kind text NOT NULL,
    to_task_id uuid NOT NULL,
    created_by_id uuid NOT NULL,
    created_by_kind text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT task_relations_kind_check CHECK ((kind = ANY (ARRAY['blocks'::text, 'related'::text, 'duplicate'::text]))),
    CONSTRAINT task_relations_related_check CHECK (((kind <> 'related'::text) OR (from_task_id < to_task_id))),
    CONSTRAINT task_relations_self_check CHECK ((from_task_id <> to_task_id))
);
CREATE TABLE public.task_search (
    workspace_id uuid NOT NULL,
    task_id uuid NOT NULL,
    words text NOT NULL,
    terms tsvector GENERATED ALWAYS AS ((setweight(to_tsvector('simple'::regconfig, split_part(words, chr(10), 1)), 'A'::"char") || to_tsvector('simple'::regconfig, "left"(words, 50000)))) STORED NOT NULL
);
CREATE TABLE public.tasks (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    number integer NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    title text NOT NULL,
    description text,
    status text DEFAULT 'todo'::text NOT NULL,
    priority smallint DEFAULT 0 NOT NULL,
    due_at timestamp with time zone,
    assignee_id uuid,
    assignee_kind text,
    created_by_id uuid NOT NULL,
    created_by_kind text NOT NULL,
    parent_task_id uuid,
    channel_id uuid,
    started_at timestamp with time zone,
    completed_at timestamp with time zone,
    cancelled_at timestamp with time zone,
    run_id uuid,
    failures smallint DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    is_open boolean GENERATED ALWAYS AS ((status <> ALL (ARRAY['done'::text, 'cancelled'::text]))) STORED NOT NULL,
    urgency smallint GENERATED ALWAYS AS (((4 - priority) +
CASE
    WHEN (status = ANY (ARRAY['done'::text, 'cancelled'::text])) THEN 5
    ELSE 0
END)) STORED NOT NULL,
    queue smallint GENERATED ALWAYS AS (
CASE status
    WHEN 'todo'::text THEN 0
    WHEN 'backlog'::text THEN 1
    ELSE NULL::integer
END) STORED,
    claim_rank bigint GENERATED ALWAYS AS ((((EXTRACT(epoch FROM (created_at AT TIME ZONE 'UTC'::text)) * (1000)::numeric))::bigint - (priority * (604800000)::bigint))) STORED NOT NULL,
    CONSTRAINT tasks_assignee_check CHECK (((assignee_id IS NULL) = (assignee_kind IS NULL))),
    CONSTRAINT tasks_parent_check CHECK ((parent_task_id <> id)),
    CONSTRAINT tasks_priority_check CHECK (((priority >= 0) AND (priority <= 4))),
    CONSTRAINT tasks_status_check CHECK ((status = ANY (ARRAY['triage'::text, 'backlog'::text, 'todo'::text, 'in_progress'::text, 'blocked'::text, 'in_review'::text, 'done'::text, 'cancelled'::text]))),
    CONSTRAINT tasks_title_check CHECK (((length(title) >= 1) AND (length(title) <= 500)))
)
WITH (fillfactor='85', autovacuum_vacuum_scale_factor='0.02');
CREATE TABLE public.unread_mentions (
    workspace_id uuid NOT NULL,
    identity_id uuid NOT NULL,
    place_id uuid NOT NULL,
    id uuid NOT NULL,
    channel_id uuid,
    created_at timestamp with time zone NOT NULL
);
CREATE TABLE public.verify_tokens (
    workspace_id uuid NOT NULL,
    hash bytea NOT NULL,
    agent_id uuid NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone
);
CREATE TABLE public.workspaces (
    id uuid NOT NULL,
    slug text NOT NULL,
    name text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    history_days integer,
    CONSTRAINT workspaces_history_check CHECK (((history_days >= 1) AND (history_days <= 36500))),
    CONSTRAINT workspaces_name_check CHECK (((length(name) >= 1) AND (length(name) <= 200))),
    CONSTRAINT workspaces_slug_check CHECK ((slug ~ '^[a-z][a-z0-9-]{0,62}$'::text))
);
INSERT INTO public.api_keys VALUES
	('01a21b13-e7a1-736e-b224-53749c340d30', '01a21b13-e7c3-72f7-a457-3dcaaf5f5f9f', '01a21b13-e7c2-7125-9074-696085a3ce54', '\x47e8092ac67fdc75a4eb0587382d11f81d214b9fc18bcc858ad0396a8db2acd3', 'baton_sk_S9jEwso2', '{channel-read,channel-write,dm-read,dm-write,task-read,task-write,memory-capture,memory-recall,knowledge-read,workspace-read,agents-read,iris-ask}', '2026-11-27 03:36:59.030326+00', NULL, NULL, NULL),
	('01a21b13-e7a1-736e-b224-53749c340d30', '01a21b13-e7e9-7522-9a8e-606962629e99', '01a21b13-e7e9-7522-9a8e-606885c2bf94', '\xa7c5d8e475ca7498d19a6944e8613782fa420d2f02992bdbc3370182474c6ea5', 'baton_sk_uQlel6dQ', '{channel-read,channel-write,dm-read,dm-write,task-read,task-write,memory-capture,memory-recall,knowledge-read,workspace-read,agents-read,iris-ask}', '2026-11-27 03:36:59.030326+00', NULL, NULL, NULL),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4728-73d6-a9b3-a1f43457de05', '01a21b14-22ef-75d2-9733-add9a8d9c114', '\x43bae91d41ae426fc64ca2c7b8fd087ff0f59bf628ca8a1ce83a5220b18239a2', 'baton_sk_-ydHT2Yf', '{channel-read,channel-write,dm-read,dm-write,task-read,task-write,memory-capture,memory-recall,knowledge-read,workspace-read,agents-read,iris-ask}', '2026-11-27 03:37:23.497059+00', NULL, NULL, '2026-11-27 03:37:24.721426+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-05ed-7086-afa6-97b684145252', '01a21b14-05ed-7086-afa6-97b5fb54555d', '\x7b24d20e9a49ca66452ce6520fec2e705c526ad76f08eac1f6850cdf85002c20', 'baton_sk_M43mxWfZ', '{channel-read,channel-write,dm-read,dm-write,task-read,task-write,memory-capture,memory-recall,knowledge-read,workspace-read,agents-read,iris-ask}', '2026-11-27 03:37:06.798266+00', '2026-11-27 03:37:27.545874+00', NULL, NULL),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-22ef-75d2-9733-adda61871c25', '01a21b14-22ef-75d2-9733-add9a8d9c114', '\x8fa446f7f034ce33ebe9f7681576644534bf98b495387051a3566fea878a05ae', 'baton_sk_mhgAYLgH', '{channel-read,channel-write,dm-read,dm-write,task-read,task-write,memory-capture,memory-recall,knowledge-read,workspace-read,agents-read,iris-ask}', '2026-11-27 03:37:14.224062+00', '2026-11-27 03:37:27.545874+00', NULL, NULL),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-2fb5-7639-ab65-d03ccd30d213', '01a21b14-2fb5-7639-ab65-d03b1cde36df', '\x3098e9d6a4a1c672deca19c97c82ca7116a2d077f20d742fce945a032e84a5a4', 'baton_sk_s9pGzWbQ', '{channel-read,channel-write,dm-read,dm-write,task-read,task-write,memory-capture,memory-recall,knowledge-read,workspace-read,agents-read,iris-ask,operator}', '2026-11-27 03:37:17.493695+00', '2026-11-27 03:37:27.545874+00', NULL, NULL),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-3b50-7338-a89f-416432eeb138', '01a21b14-3b50-7338-a89f-416331654442', '\x683bfa98cc149d8648f840729074f601eadfc5e72df112becbd70805452ad5cc', 'baton_sk_01SJDZmG', '{channel-read,task-read}', '2026-11-27 03:37:20.465348+00', '2026-11-27 03:37:27.545874+00', NULL, NULL);
INSERT INTO public.baton_schema VALUES
	(1, '2026-11-27 03:36:57.52288+00');
INSERT INTO public.channel_members VALUES
	('01a21b13-e7a1-736e-b224-53749c340d30', '01a21b13-e7a1-736e-b224-5375e906c6e2', '01a21b13-e7c2-7125-9074-696085a3ce54', 'poster', '2026-11-27 03:36:59.030326+00'),
	('01a21b13-e7a1-736e-b224-53749c340d30', '01a21b13-e7a1-736e-b224-5375e906c6e2', '01a21b13-e7e9-7522-9a8e-606885c2bf94', 'poster', '2026-11-27 03:36:59.030326+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b13-fae2-71f1-886d-040aae3f1b14', '01a21b14-05ed-7086-afa6-97b5fb54555d', 'poster', '2026-11-27 03:37:06.798266+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b13-fae2-71f1-886d-040aae3f1b14', '01a21b14-22ef-75d2-9733-add9a8d9c114', 'poster', '2026-11-27 03:37:14.224062+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-135e-725b-99e0-64035c4e2cca', '01a21b14-22ef-75d2-9733-add9a8d9c114', 'poster', '2026-11-27 03:37:14.224062+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b13-fae2-71f1-886d-040aae3f1b14', '01a21b14-2fb5-7639-ab65-d03b1cde36df', 'poster', '2026-11-27 03:37:17.493695+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-135e-725b-99e0-64035c4e2cca', '01a21b14-2fb5-7639-ab65-d03b1cde36df', 'poster', '2026-11-27 03:37:17.493695+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b13-fae2-71f1-886d-040aae3f1b14', '01a21b14-3b50-7338-a89f-416331654442', 'poster', '2026-11-27 03:37:20.465348+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-135e-725b-99e0-64035c4e2cca', '01a21b14-3b50-7338-a89f-416331654442', 'poster', '2026-11-27 03:37:20.465348+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-135e-725b-99e0-64035c4e2cca', '01a21b14-05ed-7086-afa6-97b5fb54555d', 'admin', '2026-11-27 03:37:21.977492+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-52ce-7140-965e-0033a12d78fe', '01a21b14-05ed-7086-afa6-97b5fb54555d', 'admin', '2026-11-27 03:37:26.481229+00');
INSERT INTO public.channels VALUES
	('01a21b13-e7a1-736e-b224-53749c340d30', '01a21b13-e7a1-736e-b224-5375e906c6e2', 'general', 'public', NULL, '2026-11-27 03:36:59.030326+00', NULL, 0),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b13-fae2-71f1-886d-040aae3f1b14', 'general', 'public', NULL, '2026-11-27 03:37:03.971735+00', NULL, 0),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-135e-725b-99e0-64035c4e2cca', 'releases', 'public', 'What goes out', '2026-11-27 03:37:10.239639+00', NULL, 18),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-52ce-7140-965e-0033a12d78fe', 'secret', 'private', 'For few', '2026-11-27 03:37:26.481229+00', NULL, 0);
INSERT INTO public.idempotency_keys VALUES
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-22ef-75d2-9733-add9a8d9c114', 'first', 'create-task', 'task-write', '\x4e361775063c86ff633b3d0ec8af941fa7ce149d50785f48427d4dd5c4304a8a', 200, NULL, '{"id":"01a21b14-4e52-7339-b765-f677edb51e21","identifier":"T-1","workspaceId":"01a21b13-fae2-71f1-886d-0409b95752cc","title":"Fix the login page","description":"Its form posts to the wrong path: /login statt /anmelden, «très» 日本 🚀","status":"todo","priority":"high","version":1,"dueAt":null,"assigneeUserId":null,"assigneeAgentId":null,"createdByUserId":null,"createdByAgentId":"01a21b14-22ef-75d2-9733-add9a8d9c114","parentTaskId":null,"channelId":"01a21b14-135e-725b-99e0-64035c4e2cca","originMessageId":null,"originExtractionId":null,"startedAt":null,"completedAt":null,"cancelledAt":null,"archivedAt":null,"createdAt":"2026-11-27T03:37:25.334Z","updatedAt":"2026-11-27T03:37:25.334Z","deletedAt":null}', NULL, NULL, '5c7e13c75744-4', '2026-11-27T03:37:25.330Z', '2026-11-27 03:37:25.334725+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-22ef-75d2-9733-add9a8d9c114', 'second', 'update-task', 'task-write', '\xf8f8d4c49b62ab7597bee0fdf1cb91d6d42e58809474fefd0f6be862ea72d343', 200, NULL, '{"id":"01a21b14-4e52-7339-b765-f677edb51e21","identifier":"T-1","workspaceId":"01a21b13-fae2-71f1-886d-0409b95752cc","title":"Fix the login page, please","description":"Its form posts to the wrong path: /login statt /anmelden, «très» 日本 🚀","status":"in_progress","priority":"high","version":3,"dueAt":null,"assigneeUserId":null,"assigneeAgentId":"01a21b14-22ef-75d2-9733-add9a8d9c114","createdByUserId":null,"createdByAgentId":"01a21b14-22ef-75d2-9733-add9a8d9c114","parentTaskId":null,"channelId":"01a21b14-135e-725b-99e0-64035c4e2cca","originMessageId":null,"originExtractionId":null,"startedAt":"2026-11-27T03:37:25.518Z","completedAt":null,"cancelledAt":null,"archivedAt":null,"createdAt":"2026-11-27T03:37:25.334Z","updatedAt":"2026-11-27T03:37:25.609Z","deletedAt":null}', NULL, NULL, '5c7e13c75744-8', '2026-11-27T03:37:25.608Z', '2026-11-27 03:37:25.609407+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-22ef-75d2-9733-add9a8d9c114', 'third', 'comment-on-task', 'task-write', '\x3bd474953c51e83309c7efeac4db3deef2b4e47e907a2bd3a96d1de77339c11c', 200, NULL, '{"id":"01a21b14-4f9a-76af-acae-ca1b625fdf3a","taskId":"01a21b14-4e52-7339-b765-f677edb51e21","authorUserId":null,"authorAgentId":"01a21b14-22ef-75d2-9733-add9a8d9c114","body":"The form posts to the wrong path. @ada, may I?","parentCommentId":null,"resolvedAt":null,"mentions":[{"id": "01a21b14-05ed-7086-afa6-97b5fb54555d", "type": "user"}],"createdAt":"2026-11-27T03:37:25.662Z","updatedAt":"2026-11-27T03:37:25.662Z","deletedAt":null}', NULL, NULL, '5c7e13c75744-9', '2026-11-27T03:37:25.653Z', '2026-11-27 03:37:25.662322+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-2fb5-7639-ab65-d03b1cde36df', 'fourth', 'claim-task', 'task-write', '\x7512377ee5fd433626caa87c1cae15d5d53ebd06731bb663b60fd9714e44bd73', 200, NULL, '{"task" : {"id":"01a21b14-4e86-7555-bcdc-d8a6cdaf1d38","identifier":"T-2","workspaceId":"01a21b13-fae2-71f1-886d-0409b95752cc","title":"Write the changelog","description":null,"status":"in_progress","priority":"urgent","version":2,"dueAt":null,"assigneeUserId":null,"assigneeAgentId":"01a21b14-2fb5-7639-ab65-d03b1cde36df","createdByUserId":"01a21b14-05ed-7086-afa6-97b5fb54555d","createdByAgentId":null,"parentTaskId":null,"channelId":"01a21b14-135e-725b-99e0-64035c4e2cca","originMessageId":null,"originExtractionId":null,"startedAt":"2026-11-27T03:37:26.032Z","completedAt":null,"cancelledAt":null,"archivedAt":null,"createdAt":"2026-11-27T03:37:25.383Z","updatedAt":"2026-11-27T03:37:26.032Z","deletedAt":null}, "run" : {"id":"01a21b14-5110-773c-82d0-a576022acbe6","taskId":"01a21b14-4e86-7555-bcdc-d8a6cdaf1d38","kind":"claim","status":"running","title":null,"holderUserId":null,"holderAgentId":"01a21b14-2fb5-7639-ab65-d03b1cde36df","attempt":1,"leaseSeconds":300,"leaseExpiresAt":"2026-11-27T03:42:26.032Z","progress":null,"note":null,"handoff":null,"input":null,"output":null,"errors":[],"endReason":null,"logLength":0,"startedAt":"2026-11-27T03:37:26.032Z","endedAt":null,"createdAt":"2026-11-27T03:37:26.032Z","updatedAt":"2026-11-27T03:37:26.032Z"}, "previousRuns" : []}', NULL, NULL, '5c7e13c75744-16', '2026-11-27T03:37:26.032Z', '2026-11-27 03:37:26.032991+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-2fb5-7639-ab65-d03b1cde36df', 'fifth', 'complete-run', 'task-write', '\x9732ca02a90bae2517e1beb2849029442dbfcf95cb2e2e2afc09d0e13a906195', 200, NULL, '{"run" : {"id":"01a21b14-5110-773c-82d0-a576022acbe6","taskId":"01a21b14-4e86-7555-bcdc-d8a6cdaf1d38","kind":"claim","status":"completed","title":null,"holderUserId":null,"holderAgentId":"01a21b14-2fb5-7639-ab65-d03b1cde36df","attempt":1,"leaseSeconds":300,"leaseExpiresAt":"2026-11-27T03:42:26.124Z","progress":0.5,"note":"Half of it is written","handoff":null,"input":null,"output":{"lines": 12},"errors":[],"endReason":"completed","logLength":2,"startedAt":"2026-11-27T03:37:26.032Z","endedAt":"2026-11-27T03:37:26.158Z","createdAt":"2026-11-27T03:37:26.032Z","updatedAt":"2026-11-27T03:37:26.158Z"}, "task" : {"id":"01a21b14-4e86-7555-bcdc-d8a6cdaf1d38","identifier":"T-2","workspaceId":"01a21b13-fae2-71f1-886d-0409b95752cc","title":"Write the changelog","description":null,"status":"done","priority":"urgent","version":3,"dueAt":null,"assigneeUserId":null,"assigneeAgentId":"01a21b14-2fb5-7639-ab65-d03b1cde36df","createdByUserId":"01a21b14-05ed-7086-afa6-97b5fb54555d","createdByAgentId":null,"parentTaskId":null,"channelId":"01a21b14-135e-725b-99e0-64035c4e2cca","originMessageId":null,"originExtractionId":null,"startedAt":"2026-11-27T03:37:26.032Z","completedAt":"2026-11-27T03:37:26.158Z","cancelledAt":null,"archivedAt":null,"createdAt":"2026-11-27T03:37:25.383Z","updatedAt":"2026-11-27T03:37:26.158Z","deletedAt":null}}', NULL, NULL, '5c7e13c75744-20', '2026-11-27T03:37:26.153Z', '2026-11-27 03:37:26.158959+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-22ef-75d2-9733-add9a8d9c114', 'sixth', 'send-message', 'channel-write', '\x12389839eea101aa932546cadec14d8cf46bae72bdf2e1fec2fa7350f290bf13', 200, NULL, '{"id":"01a21b14-5242-74e0-97d0-0815c6d4182b","channelId":"01a21b14-135e-725b-99e0-64035c4e2cca","parentId":null,"senderType":"agent","senderId":"01a21b14-22ef-75d2-9733-add9a8d9c114","content":"The login page is mended. @ada","metadata":{},"isEdited":false,"version":1,"replyCount":0,"reactions":[],"attachments":[],"createdAt":"2026-11-27T03:37:26.349Z","updatedAt":"2026-11-27T03:37:26.349Z","deletedAt":null}', NULL, NULL, '5c7e13c75744-25', '2026-11-27T03:37:26.334Z', '2026-11-27 03:37:26.338646+00');
INSERT INTO public.identities VALUES
	('01a21b13-e7a1-736e-b224-53749c340d30', '01a21b13-e7c2-7125-9074-696085a3ce54', 'user', 'human', 'Human', NULL, NULL, false, 'local', '2026-11-27 03:36:59.030326+00'),
	('01a21b13-e7a1-736e-b224-53749c340d30', '01a21b13-e7e9-7522-9a8e-606885c2bf94', 'agent', 'agent', 'Agent', NULL, '01a21b13-e7c2-7125-9074-696085a3ce54', false, 'local', '2026-11-27 03:36:59.030326+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-05ed-7086-afa6-97b5fb54555d', 'user', 'ada', 'ada', 'ada@example.test', NULL, false, 'local', '2026-11-27 03:37:06.798266+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-22ef-75d2-9733-add9a8d9c114', 'agent', 'builder', 'builder', NULL, '01a21b14-05ed-7086-afa6-97b5fb54555d', false, 'local', '2026-11-27 03:37:14.224062+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-2fb5-7639-ab65-d03b1cde36df', 'agent', 'scout', 'scout', NULL, '01a21b14-05ed-7086-afa6-97b5fb54555d', false, 'local', '2026-11-27 03:37:17.493695+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-3b50-7338-a89f-416331654442', 'agent', 'reader', 'reader', NULL, '01a21b14-05ed-7086-afa6-97b5fb54555d', false, 'local', '2026-11-27 03:37:20.465348+00');
INSERT INTO public.message_search VALUES
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-5242-74e0-97d0-0815c6d4182b', '01a21b14-135e-725b-99e0-64035c4e2cca', '2026-11-27 03:37:26.349805+00', '''ada'':6 ''is'':4 ''login'':2 ''mended'':5 ''page'':3 ''the'':1'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-525a-7254-8463-f95e5677ddab', '01a21b14-135e-725b-99e0-64035c4e2cca', '2026-11-27 03:37:26.375688+00', '''thank'':1 ''you'':2'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-5273-74f5-924c-fc441eac13cd', '01a21b14-135e-725b-99e0-64035c4e2cca', '2026-11-27 03:37:26.398973+00', '''goes'':3 ''it'':2 ''out'':1'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-5289-71d4-ad85-2823d964aa2a', '01a21b14-135e-725b-99e0-64035c4e2cca', '2026-11-27 03:37:26.424277+00', '''caches'':2 ''login'':1'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-52aa-74d8-8a72-5106d45f006a', '01a21b14-135e-725b-99e0-64035c4e2cca', '2026-11-27 03:37:26.446539+00', '''access'':3 ''anybody'':1 ''builder'':7 ''the'':5 ''to'':4 ''vault'':6 ''with'':2');
INSERT INTO public.messages VALUES
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-135e-725b-99e0-64035c4e2cca', 1, '01a21b14-4e53-74fa-88ef-cb9393aeadd5', NULL, '00000000-0000-0000-0000-000000000000', 'system', 'task_card', 'T-1 created: Fix the login page', '{"event": "created", "status": "todo", "taskId": "01a21b14-4e52-7339-b765-f677edb51e21", "actorId": "01a21b14-22ef-75d2-9733-add9a8d9c114", "version": 1, "identifier": "T-1"}', 0, '{}', 1, '2026-11-27 03:37:25.363312+00', NULL),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-135e-725b-99e0-64035c4e2cca', 2, '01a21b14-4e86-7555-bcdc-d8a78a0cd83e', NULL, '00000000-0000-0000-0000-000000000000', 'system', 'task_card', 'T-2 created: Write the changelog', '{"event": "created", "status": "todo", "taskId": "01a21b14-4e86-7555-bcdc-d8a6cdaf1d38", "actorId": "01a21b14-05ed-7086-afa6-97b5fb54555d", "version": 1, "identifier": "T-2"}', 0, '{}', 1, '2026-11-27 03:37:25.397441+00', NULL),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-135e-725b-99e0-64035c4e2cca', 3, '01a21b14-4e86-7555-bcdc-d8a95b374849', NULL, '00000000-0000-0000-0000-000000000000', 'system', 'task_card', 'T-3 created: Rotate the keys', '{"event": "created", "status": "todo", "taskId": "01a21b14-4e86-7555-bcdc-d8a89008dcb0", "actorId": "01a21b14-05ed-7086-afa6-97b5fb54555d", "version": 1, "identifier": "T-3"}', 0, '{}', 1, '2026-11-27 03:37:25.397695+00', NULL),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-135e-725b-99e0-64035c4e2cca', 4, '01a21b14-4e86-7555-bcdc-d8abdfac2a28', NULL, '00000000-0000-0000-0000-000000000000', 'system', 'task_card', 'T-4 created: Sweep the caches', '{"event": "created", "status": "backlog", "taskId": "01a21b14-4e86-7555-bcdc-d8aab4bf142a", "actorId": "01a21b14-05ed-7086-afa6-97b5fb54555d", "version": 1, "identifier": "T-4"}', 0, '{}', 1, '2026-11-27 03:37:25.397703+00', NULL),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-135e-725b-99e0-64035c4e2cca', 5, '01a21b14-4eb7-77d4-aa47-c950c940bb20', NULL, '00000000-0000-0000-0000-000000000000', 'system', 'task_card', 'T-6 created: A part of it', '{"event": "created", "status": "todo", "taskId": "01a21b14-4eb7-77d4-aa47-c94fc629bd62", "actorId": "01a21b14-05ed-7086-afa6-97b5fb54555d", "version": 1, "identifier": "T-6"}', 0, '{}', 1, '2026-11-27 03:37:25.467239+00', NULL),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-135e-725b-99e0-64035c4e2cca', 6, '01a21b14-4f06-70c9-93da-9a59d28467a6', NULL, '00000000-0000-0000-0000-000000000000', 'system', 'task_card', 'T-1 todo → in_progress, assigned to @builder: Fix the login page', '{"event": "status_changed", "status": "in_progress", "taskId": "01a21b14-4e52-7339-b765-f677edb51e21", "actorId": "01a21b14-22ef-75d2-9733-add9a8d9c114", "version": 2, "identifier": "T-1"}', 0, '{}', 1, '2026-11-27 03:37:25.591128+00', NULL),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-135e-725b-99e0-64035c4e2cca', 7, '01a21b14-4fec-73cc-935b-d28d8b3bf704', NULL, '00000000-0000-0000-0000-000000000000', 'system', 'task_card', 'T-1 in_progress → blocked: Fix the login page, please', '{"event": "status_changed", "status": "blocked", "taskId": "01a21b14-4e52-7339-b765-f677edb51e21", "actorId": "01a21b14-22ef-75d2-9733-add9a8d9c114", "version": 4, "identifier": "T-1"}', 0, '{}', 1, '2026-11-27 03:37:25.796544+00', NULL),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-135e-725b-99e0-64035c4e2cca', 8, '01a21b14-5038-702d-b946-9cf294f0921c', NULL, '00000000-0000-0000-0000-000000000000', 'system', 'task_card', 'T-1 completed: Fix the login page, please', '{"event": "completed", "status": "done", "taskId": "01a21b14-4e52-7339-b765-f677edb51e21", "actorId": "01a21b14-22ef-75d2-9733-add9a8d9c114", "version": 5, "identifier": "T-1"}', 0, '{}', 1, '2026-11-27 03:37:25.817747+00', NULL),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-135e-725b-99e0-64035c4e2cca', 9, '01a21b14-5110-773c-82d0-a577987b1f5b', NULL, '00000000-0000-0000-0000-000000000000', 'system', 'task_card', 'T-2 todo → in_progress, assigned to @scout: Write the changelog', '{"event": "status_changed", "status": "in_progress", "taskId": "01a21b14-4e86-7555-bcdc-d8a6cdaf1d38", "actorId": "01a21b14-2fb5-7639-ab65-d03b1cde36df", "version": 2, "identifier": "T-2"}', 0, '{}', 1, '2026-11-27 03:37:26.059317+00', NULL),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-135e-725b-99e0-64035c4e2cca', 10, '01a21b14-5189-7710-a24c-08f62ed8063e', NULL, '00000000-0000-0000-0000-000000000000', 'system', 'task_card', 'T-2 completed: Write the changelog', '{"event": "completed", "status": "done", "taskId": "01a21b14-4e86-7555-bcdc-d8a6cdaf1d38", "actorId": "01a21b14-2fb5-7639-ab65-d03b1cde36df", "version": 3, "identifier": "T-2"}', 0, '{}', 1, '2026-11-27 03:37:26.206396+00', NULL),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-135e-725b-99e0-64035c4e2cca', 11, '01a21b14-51ca-728b-9c77-d21821a21da9', NULL, '00000000-0000-0000-0000-000000000000', 'system', 'task_card', 'T-3 todo → in_progress, assigned to @scout: Rotate the keys', '{"event": "status_changed", "status": "in_progress", "taskId": "01a21b14-4e86-7555-bcdc-d8a89008dcb0", "actorId": "01a21b14-2fb5-7639-ab65-d03b1cde36df", "version": 2, "identifier": "T-3"}', 0, '{}', 1, '2026-11-27 03:37:26.244822+00', NULL),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-135e-725b-99e0-64035c4e2cca', 12, '01a21b14-51ff-775d-8bff-f8c3fbdf71a5', NULL, '00000000-0000-0000-0000-000000000000', 'system', 'task_card', 'T-3 in_progress → todo: Rotate the keys', '{"event": "status_changed", "status": "todo", "taskId": "01a21b14-4e86-7555-bcdc-d8a89008dcb0", "actorId": "01a21b14-2fb5-7639-ab65-d03b1cde36df", "version": 3, "identifier": "T-3"}', 0, '{}', 1, '2026-11-27 03:37:26.296487+00', NULL),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-135e-725b-99e0-64035c4e2cca', 13, '01a21b14-5227-724b-8450-c86d5c99aa4f', NULL, '00000000-0000-0000-0000-000000000000', 'system', 'task_card', 'T-4 backlog → in_progress, assigned to @scout: Sweep the caches', '{"event": "status_changed", "status": "in_progress", "taskId": "01a21b14-4e86-7555-bcdc-d8aab4bf142a", "actorId": "01a21b14-2fb5-7639-ab65-d03b1cde36df", "version": 2, "identifier": "T-4"}', 0, '{}', 1, '2026-11-27 03:37:26.317031+00', NULL),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-135e-725b-99e0-64035c4e2cca', 15, '01a21b14-525a-7254-8463-f95e5677ddab', '01a21b14-5242-74e0-97d0-0815c6d4182b', '01a21b14-05ed-7086-afa6-97b5fb54555d', 'human', 'text', 'Thank you!', '{}', 0, '{}', 1, '2026-11-27 03:37:26.375688+00', NULL),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-135e-725b-99e0-64035c4e2cca', 16, '01a21b14-5273-74f5-924c-fc441eac13cd', NULL, '01a21b14-05ed-7086-afa6-97b5fb54555d', 'human', 'announcement', 'Out it goes', '{}', 0, '{}', 1, '2026-11-27 03:37:26.398973+00', NULL),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-135e-725b-99e0-64035c4e2cca', 17, '01a21b14-5289-71d4-ad85-2823d964aa2a', NULL, '01a21b14-22ef-75d2-9733-add9a8d9c114', 'agent', 'artifact', '- login
- caches', '{"artifact": {"name": "notes.md", "type": "markdown"}}', 0, '{}', 1, '2026-11-27 03:37:26.424277+00', NULL),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-135e-725b-99e0-64035c4e2cca', 18, '01a21b14-52aa-74d8-8a72-5106d45f006a', NULL, '01a21b14-2fb5-7639-ab65-d03b1cde36df', 'agent', 'text', 'Anybody with access to the vault? @builder', '{}', 0, '{}', 1, '2026-11-27 03:37:26.446539+00', NULL),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-135e-725b-99e0-64035c4e2cca', 14, '01a21b14-5242-74e0-97d0-0815c6d4182b', NULL, '01a21b14-22ef-75d2-9733-add9a8d9c114', 'agent', 'text', 'The login page is mended. @ada', '{"needsHuman": true, "needsHumanAt": "2026-11-27T03:37:26.462Z", "needsHumanBy": "01a21b14-22ef-75d2-9733-add9a8d9c114", "needsHumanReason": "Only Ada can deploy"}', 1, '{01a21b14-05ed-7086-afa6-97b5fb54555d}', 2, '2026-11-27 03:37:26.349805+00', '2026-11-27 03:37:26.462032+00');
INSERT INTO public.run_log VALUES
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-5110-773c-82d0-a576022acbe6', 1, '{"text": "Read the history"}', '2026-11-27 03:37:26.106519+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-5110-773c-82d0-a576022acbe6', 2, '{"data": {"n": 1}, "text": "Wrote a line"}', '2026-11-27 03:37:26.106519+00');
INSERT INTO public.runs VALUES
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-5110-773c-82d0-a576022acbe6', 2, 'claim', 'completed', NULL, NULL, NULL, NULL, NULL, '{"lines": 12}', '{}', '[]', NULL, NULL, NULL, '01a21b14-4e86-7555-bcdc-d8a6cdaf1d38', '01a21b14-2fb5-7639-ab65-d03b1cde36df', 'agent', '2026-11-27 03:37:26.032991+00', '2026-11-27 03:37:26.158959+00', '2026-11-27 03:37:26.032991+00', '2026-11-27 03:37:26.158959+00', '01a21b14-2fb5-7639-ab65-d03b1cde36df', 'agent', 1, NULL, NULL, 300, '2026-11-27 03:42:26.124546+00', '2026-11-27 03:42:26.032991+00', 0.5, 'Half of it is written', NULL, 'completed', 2),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-51ca-728b-9c77-d217a4e217f2', 2, 'claim', 'failed', NULL, NULL, NULL, NULL, NULL, NULL, '{}', '[{"code": "no_access", "message": "The vault is closed"}]', NULL, NULL, NULL, '01a21b14-4e86-7555-bcdc-d8a89008dcb0', '01a21b14-2fb5-7639-ab65-d03b1cde36df', 'agent', '2026-11-27 03:37:26.218685+00', '2026-11-27 03:37:26.271368+00', '2026-11-27 03:37:26.218685+00', '2026-11-27 03:37:26.271368+00', '01a21b14-2fb5-7639-ab65-d03b1cde36df', 'agent', 1, NULL, NULL, 60, '2026-11-27 03:38:26.218685+00', '2026-11-27 03:38:26.218685+00', NULL, NULL, 'Ask @ada', 'failed', 0),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-5227-724b-8450-c86c1179b954', 1, 'claim', 'running', NULL, NULL, NULL, NULL, NULL, NULL, '{}', '[]', NULL, NULL, NULL, '01a21b14-4e86-7555-bcdc-d8aab4bf142a', '01a21b14-2fb5-7639-ab65-d03b1cde36df', 'agent', '2026-11-27 03:37:26.31603+00', NULL, '2026-11-27 03:37:26.31603+00', '2026-11-27 03:37:26.31603+00', '01a21b14-2fb5-7639-ab65-d03b1cde36df', 'agent', 1, NULL, NULL, 300, '2026-11-27 03:42:26.324534+00', '2026-11-27 03:42:26.31603+00', 0.1, NULL, NULL, NULL, 0),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-52e7-72bf-9c7d-17ddded6902d', 1, 'flow', 'created', 'A run of another kind', NULL, NULL, NULL, NULL, NULL, '{"depth": 3}', '[]', NULL, '01a21b14-52e7-72bf-9c7d-17dbd1583096', NULL, NULL, '01a21b14-22ef-75d2-9733-add9a8d9c114', 'agent', NULL, NULL, '2026-11-27 03:37:26.506349+00', '2026-11-27 03:37:26.506349+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0);
INSERT INTO public.states VALUES
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-52e7-72bf-9c7d-17dbd1583096', 1, 'A run of another kind', '01a21b14-52e7-72bf-9c7d-17dc9f97b985', '[]', '[]', '[]', '2026-11-27 03:37:26.506349+00', '2026-11-27 03:37:26.506349+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-5319-75b4-9951-98ba3564fe38', 1, 'Memory of the builder', '01a21b14-5319-75b4-9951-98bbb53f621a', '[]', '[]', '[]', '2026-11-27 03:37:26.553654+00', '2026-11-27 03:37:26.553654+00');
INSERT INTO public.task_comments VALUES
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e52-7339-b765-f677edb51e21', '01a21b14-4f9a-76af-acae-ca1b625fdf3a', '01a21b14-22ef-75d2-9733-add9a8d9c114', 'agent', 'The form posts to the wrong path. @ada, may I?', '[{"id": "01a21b14-05ed-7086-afa6-97b5fb54555d", "type": "user"}]', '2026-11-27 03:37:25.662322+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e52-7339-b765-f677edb51e21', '01a21b14-4fc9-7318-8c46-79e79462eabc', '01a21b14-05ed-7086-afa6-97b5fb54555d', 'user', 'Yes, do. @builder', '[{"id": "01a21b14-22ef-75d2-9733-add9a8d9c114", "type": "agent"}]', '2026-11-27 03:37:25.705721+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e52-7339-b765-f677edb51e21', '01a21b14-4fec-73cc-935b-d28c600cfebc', '01a21b14-22ef-75d2-9733-add9a8d9c114', 'agent', 'Waiting for @ada', '[{"id": "01a21b14-05ed-7086-afa6-97b5fb54555d", "type": "user"}]', '2026-11-27 03:37:25.741029+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e86-7555-bcdc-d8acef193010', '01a21b14-5047-70bc-8c74-60bd7ab9ae2c', '01a21b14-05ed-7086-afa6-97b5fb54555d', 'user', 'Not needed', '[]', '2026-11-27 03:37:25.831373+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e86-7555-bcdc-d8a6cdaf1d38', '01a21b14-516c-76c3-99af-047b4a8a932c', '01a21b14-2fb5-7639-ab65-d03b1cde36df', 'agent', 'On it', '[]', '2026-11-27 03:37:26.124546+00');
INSERT INTO public.task_counters VALUES
	('01a21b13-e7a1-736e-b224-53749c340d30', 0),
	('01a21b13-fae2-71f1-886d-0409b95752cc', 6);
INSERT INTO public.task_events OVERRIDING SYSTEM VALUE VALUES
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e52-7339-b765-f677edb51e21', 1, '00000000-0000-0000-0000-000000000000', 'created', '01a21b14-22ef-75d2-9733-add9a8d9c114', 'agent', '5c7e13c75744-4', '{"title": [null, "Fix the login page"], "status": [null, "todo"], "priority": [null, "high"], "channelId": [null, "01a21b14-135e-725b-99e0-64035c4e2cca"], "description": [null, "Its form posts to the wrong path: /login statt /anmelden, «très» 日本 🚀"]}', '2026-11-27 03:37:25.334725+00', '735', 1),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e86-7555-bcdc-d8a6cdaf1d38', 1, '00000000-0000-0000-0000-000000000000', 'created', '01a21b14-05ed-7086-afa6-97b5fb54555d', 'user', '5c7e13c75744-5', '{"title": [null, "Write the changelog"], "status": [null, "todo"], "priority": [null, "urgent"], "channelId": [null, "01a21b14-135e-725b-99e0-64035c4e2cca"]}', '2026-11-27 03:37:25.383318+00', '736', 2),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e86-7555-bcdc-d8a89008dcb0', 1, '00000000-0000-0000-0000-000000000000', 'created', '01a21b14-05ed-7086-afa6-97b5fb54555d', 'user', '5c7e13c75744-5', '{"dueAt": [null, "2027-01-31T17:00:00.000Z"], "title": [null, "Rotate the keys"], "status": [null, "todo"], "priority": [null, "none"], "channelId": [null, "01a21b14-135e-725b-99e0-64035c4e2cca"]}', '2026-11-27 03:37:25.383318+00', '736', 3),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e86-7555-bcdc-d8aab4bf142a', 1, '00000000-0000-0000-0000-000000000000', 'created', '01a21b14-05ed-7086-afa6-97b5fb54555d', 'user', '5c7e13c75744-5', '{"title": [null, "Sweep the caches"], "status": [null, "backlog"], "priority": [null, "none"], "channelId": [null, "01a21b14-135e-725b-99e0-64035c4e2cca"]}', '2026-11-27 03:37:25.383318+00', '736', 4),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e86-7555-bcdc-d8acef193010', 1, '00000000-0000-0000-0000-000000000000', 'created', '01a21b14-05ed-7086-afa6-97b5fb54555d', 'user', '5c7e13c75744-5', '{"title": [null, "Ada''s own"], "status": [null, "todo"], "priority": [null, "low"]}', '2026-11-27 03:37:25.383318+00', '736', 5),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4eb7-77d4-aa47-c94fc629bd62', 1, '00000000-0000-0000-0000-000000000000', 'created', '01a21b14-05ed-7086-afa6-97b5fb54555d', 'user', '5c7e13c75744-6', '{"title": [null, "A part of it"], "status": [null, "todo"], "priority": [null, "none"], "channelId": [null, "01a21b14-135e-725b-99e0-64035c4e2cca"], "parentTaskId": [null, "01a21b14-4e52-7339-b765-f677edb51e21"]}', '2026-11-27 03:37:25.432378+00', '737', 6),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e52-7339-b765-f677edb51e21', 2, '00000000-0000-0000-0000-000000000000', 'updated', '01a21b14-22ef-75d2-9733-add9a8d9c114', 'agent', '5c7e13c75744-7', '{"status": ["todo", "in_progress"], "startedAt": [null, "2026-11-27T03:37:25.518Z"], "assigneeAgentId": [null, "01a21b14-22ef-75d2-9733-add9a8d9c114"]}', '2026-11-27 03:37:25.518854+00', '738', 7),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e52-7339-b765-f677edb51e21', 3, '00000000-0000-0000-0000-000000000000', 'updated', '01a21b14-22ef-75d2-9733-add9a8d9c114', 'agent', '5c7e13c75744-8', '{"title": ["Fix the login page", "Fix the login page, please"]}', '2026-11-27 03:37:25.609407+00', '739', 8),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e52-7339-b765-f677edb51e21', 3, '01a21b14-4f9a-76af-acae-ca1b625fdf3a', 'commented', '01a21b14-22ef-75d2-9733-add9a8d9c114', 'agent', '5c7e13c75744-9', '{}', '2026-11-27 03:37:25.662322+00', '740', 9),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e52-7339-b765-f677edb51e21', 3, '01a21b14-4fc9-7318-8c46-79e79462eabc', 'commented', '01a21b14-05ed-7086-afa6-97b5fb54555d', 'user', '5c7e13c75744-10', '{}', '2026-11-27 03:37:25.705721+00', '741', 10),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e52-7339-b765-f677edb51e21', 4, '01a21b14-4fec-73cc-935b-d28c600cfebc', 'commented', '01a21b14-22ef-75d2-9733-add9a8d9c114', 'agent', '5c7e13c75744-11', '{}', '2026-11-27 03:37:25.741029+00', '742', 11),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e52-7339-b765-f677edb51e21', 4, '00000000-0000-0000-0000-000000000000', 'blocked', '01a21b14-22ef-75d2-9733-add9a8d9c114', 'agent', '5c7e13c75744-11', '{"status": ["in_progress", "blocked"]}', '2026-11-27 03:37:25.741029+00', '742', 12),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e52-7339-b765-f677edb51e21', 5, '00000000-0000-0000-0000-000000000000', 'completed', '01a21b14-22ef-75d2-9733-add9a8d9c114', 'agent', '5c7e13c75744-12', '{"status": ["blocked", "done"], "completedAt": [null, "2026-11-27T03:37:25.816Z"]}', '2026-11-27 03:37:25.816591+00', '743', 13),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e86-7555-bcdc-d8acef193010', 2, '01a21b14-5047-70bc-8c74-60bd7ab9ae2c', 'commented', '01a21b14-05ed-7086-afa6-97b5fb54555d', 'user', '5c7e13c75744-13', '{}', '2026-11-27 03:37:25.831373+00', '744', 14),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e86-7555-bcdc-d8acef193010', 2, '00000000-0000-0000-0000-000000000000', 'cancelled', '01a21b14-05ed-7086-afa6-97b5fb54555d', 'user', '5c7e13c75744-13', '{"status": ["todo", "cancelled"], "cancelledAt": [null, "2026-11-27T03:37:25.831Z"]}', '2026-11-27 03:37:25.831373+00', '744', 15),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e86-7555-bcdc-d8a6cdaf1d38', 1, '01a21b14-5057-722b-a045-4ae0c8ac0781', 'linked', '01a21b14-05ed-7086-afa6-97b5fb54555d', 'user', '5c7e13c75744-14', '{"blocks": [null, "01a21b14-4e86-7555-bcdc-d8a89008dcb0"]}', '2026-11-27 03:37:25.849112+00', '745', 16),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e86-7555-bcdc-d8a89008dcb0', 1, '01a21b14-5057-722b-a045-4ae13747c8d8', 'linked', '01a21b14-05ed-7086-afa6-97b5fb54555d', 'user', '5c7e13c75744-14', '{"blocked_by": [null, "01a21b14-4e86-7555-bcdc-d8a6cdaf1d38"]}', '2026-11-27 03:37:25.849112+00', '745', 17),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e52-7339-b765-f677edb51e21', 5, '01a21b14-50c4-713c-9358-5647e9b80b20', 'linked', '01a21b14-05ed-7086-afa6-97b5fb54555d', 'user', '5c7e13c75744-15', '{"related": [null, "01a21b14-4e86-7555-bcdc-d8aab4bf142a"]}', '2026-11-27 03:37:25.957108+00', '746', 18),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e86-7555-bcdc-d8aab4bf142a', 1, '01a21b14-50c4-713c-9358-56483a93f143', 'linked', '01a21b14-05ed-7086-afa6-97b5fb54555d', 'user', '5c7e13c75744-15', '{"related": [null, "01a21b14-4e52-7339-b765-f677edb51e21"]}', '2026-11-27 03:37:25.957108+00', '746', 19),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e86-7555-bcdc-d8a6cdaf1d38', 2, '00000000-0000-0000-0000-000000000000', 'claimed', '01a21b14-2fb5-7639-ab65-d03b1cde36df', 'agent', '5c7e13c75744-16', '{"runId": [null, "01a21b14-5110-773c-82d0-a576022acbe6"], "status": ["todo", "in_progress"], "startedAt": [null, "2026-11-27T03:37:26.032Z"], "assigneeAgentId": [null, "01a21b14-2fb5-7639-ab65-d03b1cde36df"]}', '2026-11-27 03:37:26.032991+00', '747', 20),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e86-7555-bcdc-d8a6cdaf1d38', 2, '01a21b14-516c-76c3-99af-047b4a8a932c', 'commented', '01a21b14-2fb5-7639-ab65-d03b1cde36df', 'agent', '5c7e13c75744-19', '{}', '2026-11-27 03:37:26.124546+00', '750', 21),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e86-7555-bcdc-d8a6cdaf1d38', 3, '00000000-0000-0000-0000-000000000000', 'run_completed', '01a21b14-2fb5-7639-ab65-d03b1cde36df', 'agent', '5c7e13c75744-20', '{"runId": ["01a21b14-5110-773c-82d0-a576022acbe6", null], "status": ["in_progress", "done"], "completedAt": [null, "2026-11-27T03:37:26.158Z"]}', '2026-11-27 03:37:26.158959+00', '751', 22),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e86-7555-bcdc-d8a89008dcb0', 2, '00000000-0000-0000-0000-000000000000', 'claimed', '01a21b14-2fb5-7639-ab65-d03b1cde36df', 'agent', '5c7e13c75744-21', '{"runId": [null, "01a21b14-51ca-728b-9c77-d217a4e217f2"], "status": ["todo", "in_progress"], "startedAt": [null, "2026-11-27T03:37:26.218Z"], "assigneeAgentId": [null, "01a21b14-2fb5-7639-ab65-d03b1cde36df"]}', '2026-11-27 03:37:26.218685+00', '752', 23),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e86-7555-bcdc-d8a89008dcb0', 3, '00000000-0000-0000-0000-000000000000', 'run_failed', '01a21b14-2fb5-7639-ab65-d03b1cde36df', 'agent', '5c7e13c75744-22', '{"runId": ["01a21b14-51ca-728b-9c77-d217a4e217f2", null], "status": ["in_progress", "todo"], "assigneeAgentId": ["01a21b14-2fb5-7639-ab65-d03b1cde36df", null]}', '2026-11-27 03:37:26.271368+00', '753', 24),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e86-7555-bcdc-d8aab4bf142a', 2, '00000000-0000-0000-0000-000000000000', 'claimed', '01a21b14-2fb5-7639-ab65-d03b1cde36df', 'agent', '5c7e13c75744-23', '{"runId": [null, "01a21b14-5227-724b-8450-c86c1179b954"], "status": ["backlog", "in_progress"], "startedAt": [null, "2026-11-27T03:37:26.316Z"], "assigneeAgentId": [null, "01a21b14-2fb5-7639-ab65-d03b1cde36df"]}', '2026-11-27 03:37:26.31603+00', '754', 25);
INSERT INTO public.task_participants VALUES
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-05ed-7086-afa6-97b5fb54555d', '01a21b14-4e52-7339-b765-f677edb51e21'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-22ef-75d2-9733-add9a8d9c114', '01a21b14-4e52-7339-b765-f677edb51e21'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-05ed-7086-afa6-97b5fb54555d', '01a21b14-4e86-7555-bcdc-d8a6cdaf1d38'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-05ed-7086-afa6-97b5fb54555d', '01a21b14-4e86-7555-bcdc-d8a89008dcb0'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-05ed-7086-afa6-97b5fb54555d', '01a21b14-4e86-7555-bcdc-d8aab4bf142a'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-05ed-7086-afa6-97b5fb54555d', '01a21b14-4e86-7555-bcdc-d8acef193010'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-05ed-7086-afa6-97b5fb54555d', '01a21b14-4eb7-77d4-aa47-c94fc629bd62'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-2fb5-7639-ab65-d03b1cde36df', '01a21b14-4e86-7555-bcdc-d8a6cdaf1d38'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-2fb5-7639-ab65-d03b1cde36df', '01a21b14-4e86-7555-bcdc-d8a89008dcb0'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-2fb5-7639-ab65-d03b1cde36df', '01a21b14-4e86-7555-bcdc-d8aab4bf142a');
INSERT INTO public.task_relations VALUES
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e86-7555-bcdc-d8a6cdaf1d38', 'blocks', '01a21b14-4e86-7555-bcdc-d8a89008dcb0', '01a21b14-05ed-7086-afa6-97b5fb54555d', 'user', '2026-11-27 03:37:25.849112+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e52-7339-b765-f677edb51e21', 'related', '01a21b14-4e86-7555-bcdc-d8aab4bf142a', '01a21b14-05ed-7086-afa6-97b5fb54555d', 'user', '2026-11-27 03:37:25.957108+00');
INSERT INTO public.task_search VALUES
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e86-7555-bcdc-d8a6cdaf1d38', 'write the changelog
', DEFAULT),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e86-7555-bcdc-d8a89008dcb0', 'rotate the keys
', DEFAULT),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e86-7555-bcdc-d8aab4bf142a', 'sweep the caches
', DEFAULT),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e86-7555-bcdc-d8acef193010', 'ada''s own
', DEFAULT),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4eb7-77d4-aa47-c94fc629bd62', 'a part of it
', DEFAULT),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e52-7339-b765-f677edb51e21', 'fix the login page, please
its form posts to the wrong path: /login statt /anmelden, «très» 日本 🚀', DEFAULT);
INSERT INTO public.tasks VALUES
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4eb7-77d4-aa47-c94fc629bd62', 6, 1, 'A part of it', NULL, 'todo', 0, NULL, NULL, NULL, '01a21b14-05ed-7086-afa6-97b5fb54555d', 'user', '01a21b14-4e52-7339-b765-f677edb51e21', '01a21b14-135e-725b-99e0-64035c4e2cca', NULL, NULL, NULL, NULL, 0, '2026-11-27 03:37:25.432378+00', '2026-11-27 03:37:25.432378+00', DEFAULT, DEFAULT, DEFAULT, DEFAULT),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e52-7339-b765-f677edb51e21', 1, 5, 'Fix the login page, please', 'Its form posts to the wrong path: /login statt /anmelden, «très» 日本 🚀', 'done', 3, NULL, '01a21b14-22ef-75d2-9733-add9a8d9c114', 'agent', '01a21b14-22ef-75d2-9733-add9a8d9c114', 'agent', NULL, '01a21b14-135e-725b-99e0-64035c4e2cca', '2026-11-27 03:37:25.518854+00', '2026-11-27 03:37:25.816591+00', NULL, NULL, 0, '2026-11-27 03:37:25.334725+00', '2026-11-27 03:37:25.816591+00', DEFAULT, DEFAULT, DEFAULT, DEFAULT),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e86-7555-bcdc-d8acef193010', 5, 2, 'Ada''s own', NULL, 'cancelled', 1, NULL, NULL, NULL, '01a21b14-05ed-7086-afa6-97b5fb54555d', 'user', NULL, NULL, NULL, NULL, '2026-11-27 03:37:25.831373+00', NULL, 0, '2026-11-27 03:37:25.383318+00', '2026-11-27 03:37:25.831373+00', DEFAULT, DEFAULT, DEFAULT, DEFAULT),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e86-7555-bcdc-d8a6cdaf1d38', 2, 3, 'Write the changelog', NULL, 'done', 4, NULL, '01a21b14-2fb5-7639-ab65-d03b1cde36df', 'agent', '01a21b14-05ed-7086-afa6-97b5fb54555d', 'user', NULL, '01a21b14-135e-725b-99e0-64035c4e2cca', '2026-11-27 03:37:26.032991+00', '2026-11-27 03:37:26.158959+00', NULL, NULL, 0, '2026-11-27 03:37:25.383318+00', '2026-11-27 03:37:26.158959+00', DEFAULT, DEFAULT, DEFAULT, DEFAULT),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e86-7555-bcdc-d8a89008dcb0', 3, 3, 'Rotate the keys', NULL, 'todo', 0, '2027-01-31 17:00:00+00', NULL, NULL, '01a21b14-05ed-7086-afa6-97b5fb54555d', 'user', NULL, '01a21b14-135e-725b-99e0-64035c4e2cca', '2026-11-27 03:37:26.218685+00', NULL, NULL, NULL, 1, '2026-11-27 03:37:25.383318+00', '2026-11-27 03:37:26.271368+00', DEFAULT, DEFAULT, DEFAULT, DEFAULT),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-4e86-7555-bcdc-d8aab4bf142a', 4, 2, 'Sweep the caches', NULL, 'in_progress', 0, NULL, '01a21b14-2fb5-7639-ab65-d03b1cde36df', 'agent', '01a21b14-05ed-7086-afa6-97b5fb54555d', 'user', NULL, '01a21b14-135e-725b-99e0-64035c4e2cca', '2026-11-27 03:37:26.31603+00', NULL, NULL, '01a21b14-5227-724b-8450-c86c1179b954', 0, '2026-11-27 03:37:25.383318+00', '2026-11-27 03:37:26.31603+00', DEFAULT, DEFAULT, DEFAULT, DEFAULT);
INSERT INTO public.unread_mentions VALUES
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-05ed-7086-afa6-97b5fb54555d', '01a21b14-4e52-7339-b765-f677edb51e21', '01a21b14-4fec-73cc-935b-d28c600cfebc', NULL, '2026-11-27 03:37:25.741029+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-22ef-75d2-9733-add9a8d9c114', '01a21b14-5242-74e0-97d0-0815c6d4182b', '01a21b14-525a-7254-8463-f95e5677ddab', '01a21b14-135e-725b-99e0-64035c4e2cca', '2026-11-27 03:37:26.375688+00'),
	('01a21b13-fae2-71f1-886d-0409b95752cc', '01a21b14-22ef-75d2-9733-add9a8d9c114', '01a21b14-52aa-74d8-8a72-5106d45f006a', '01a21b14-52aa-74d8-8a72-5106d45f006a', '01a21b14-135e-725b-99e0-64035c4e2cca', '2026-11-27 03:37:26.446539+00');
INSERT INTO public.workspaces VALUES
	('01a21b13-e7a1-736e-b224-53749c340d30', 'default', 'Default', '2026-11-27 03:36:59.030326+00', NULL),
	('01a21b13-fae2-71f1-886d-0409b95752cc', 'acme', 'acme', '2026-11-27 03:37:03.971735+00', NULL);
SELECT pg_catalog.setval('public.task_events_seq_seq', 25, true);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_hash_key UNIQUE (hash);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (workspace_id, id);
ALTER TABLE ONLY public.channel_members
    ADD CONSTRAINT channel_members_pkey PRIMARY KEY (workspace_id, identity_id, channel_id);
ALTER TABLE ONLY public.channels
    ADD CONSTRAINT channels_name_key UNIQUE (workspace_id, name);
ALTER TABLE ONLY public.channels
    ADD CONSTRAINT channels_pkey PRIMARY KEY (workspace_id, id);
ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (workspace_id, identity_id, key);
ALTER TABLE ONLY public.identities
    ADD CONSTRAINT identities_handle_key UNIQUE (workspace_id, handle);
ALTER TABLE ONLY public.identities
    ADD CONSTRAINT identities_pkey PRIMARY KEY (workspace_id, id);
ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_id_key UNIQUE (workspace_id, id);
ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_pkey PRIMARY KEY (workspace_id, channel_id, "position");
ALTER TABLE ONLY public.run_log
    ADD CONSTRAINT run_log_pkey PRIMARY KEY (workspace_id, run_id, number);
ALTER TABLE ONLY public.runs
    ADD CONSTRAINT runs_pkey PRIMARY KEY (workspace_id, id);
ALTER TABLE ONLY public.states
    ADD CONSTRAINT states_pkey PRIMARY KEY (workspace_id, id);
ALTER TABLE ONLY public.task_comments
    ADD CONSTRAINT task_comments_pkey PRIMARY KEY (workspace_id, task_id, id);
ALTER TABLE ONLY public.task_counters
    ADD CONSTRAINT task_counters_pkey PRIMARY KEY (workspace_id);
ALTER TABLE ONLY public.task_events
    ADD CONSTRAINT task_events_pkey PRIMARY KEY (workspace_id, task_id, version, subject_id);
ALTER TABLE ONLY public.task_participants
    ADD CONSTRAINT task_participants_pkey PRIMARY KEY (workspace_id, identity_id, task_id);
ALTER TABLE ONLY public.task_relations
    ADD CONSTRAINT task_relations_pkey PRIMARY KEY (workspace_id, from_task_id, kind, to_task_id);
ALTER TABLE ONLY public.task_search
    ADD CONSTRAINT task_search_pkey PRIMARY KEY (workspace_id, task_id);
ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_number_key UNIQUE (workspace_id, number);
ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_pkey PRIMARY KEY (workspace_id, id);
ALTER TABLE ONLY public.unread_mentions
    ADD CONSTRAINT unread_mentions_pkey PRIMARY KEY (workspace_id, identity_id, place_id, id);
ALTER TABLE ONLY public.verify_tokens
    ADD CONSTRAINT verify_tokens_pkey PRIMARY KEY (workspace_id, hash);
ALTER TABLE ONLY public.workspaces
    ADD CONSTRAINT workspaces_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.workspaces
    ADD CONSTRAINT workspaces_slug_key UNIQUE (slug);
CREATE INDEX api_keys_identity ON public.api_keys USING btree (workspace_id, identity_id);
CREATE INDEX api_keys_revoked ON public.api_keys USING btree (revoked_at) WHERE (revoked_at IS NOT NULL);
CREATE INDEX channel_members_channel ON public.channel_members USING btree (workspace_id, channel_id, identity_id);
CREATE INDEX idempotency_keys_age ON public.idempotency_keys USING btree (created_at);
CREATE UNIQUE INDEX identities_email_key ON public.identities USING btree (workspace_id, lower(email)) WHERE (email IS NOT NULL);
CREATE INDEX identities_owner ON public.identities USING btree (workspace_id, owner_id) WHERE (owner_id IS NOT NULL);
CREATE INDEX message_search_terms ON public.message_search USING gin (workspace_id, terms);
CREATE INDEX messages_thread ON public.messages USING btree (workspace_id, parent_id, "position") WHERE (parent_id IS NOT NULL);
CREATE UNIQUE INDEX runs_claim_key ON public.runs USING btree (workspace_id, holder_id, claim_key, claim_place) WHERE (claim_key IS NOT NULL);
CREATE INDEX runs_executor ON public.runs USING btree (workspace_id, executor_id, status, id) WHERE (executor_id IS NOT NULL);
CREATE INDEX runs_holder ON public.runs USING btree (workspace_id, holder_id, id) WHERE (holder_id IS NOT NULL);
CREATE INDEX runs_lease ON public.runs USING btree (lease_check_at) WHERE ((holder_id IS NOT NULL) AND (ended_at IS NULL));
CREATE INDEX runs_live ON public.runs USING btree (workspace_id, holder_id, id) WHERE ((holder_id IS NOT NULL) AND (ended_at IS NULL));
CREATE INDEX runs_parent ON public.runs USING btree (workspace_id, parent_id, id) WHERE (parent_id IS NOT NULL);
CREATE INDEX runs_work_item ON public.runs USING btree (workspace_id, work_item_id, id) WHERE (work_item_id IS NOT NULL);
CREATE INDEX task_events_actor ON public.task_events USING btree (workspace_id, actor_id, seq);
CREATE INDEX task_events_feed ON public.task_events USING btree (workspace_id, xid, seq);
CREATE INDEX task_relations_to ON public.task_relations USING btree (workspace_id, to_task_id, kind, from_task_id);
CREATE INDEX task_search_terms ON public.task_search USING gin (workspace_id, terms);
CREATE INDEX task_search_words ON public.task_search USING gin (workspace_id, words public.gin_trgm_ops);
CREATE INDEX tasks_assignee ON public.tasks USING btree (workspace_id, assignee_id, urgency, id) WHERE (assignee_id IS NOT NULL);
CREATE INDEX tasks_channel ON public.tasks USING btree (workspace_id, channel_id, is_open, id) WHERE (channel_id IS NOT NULL);
CREATE INDEX tasks_creator ON public.tasks USING btree (workspace_id, created_by_id, id) WHERE is_open;
CREATE INDEX tasks_parent ON public.tasks USING btree (workspace_id, parent_task_id, id) WHERE (parent_task_id IS NOT NULL);
CREATE INDEX tasks_ready ON public.tasks USING btree (workspace_id, channel_id, queue, claim_rank, id) WHERE ((queue IS NOT NULL) AND (assignee_id IS NULL));
CREATE INDEX tasks_ready_assigned ON public.tasks USING btree (workspace_id, assignee_id, queue, claim_rank, id) WHERE ((queue IS NOT NULL) AND (assignee_id IS NOT NULL));
CREATE INDEX unread_mentions_newest ON public.unread_mentions USING btree (workspace_id, identity_id, created_at, id);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_workspace_id_identity_id_fkey FOREIGN KEY (workspace_id, identity_id) REFERENCES public.identities(workspace_id, id);
ALTER TABLE ONLY public.channel_members
    ADD CONSTRAINT channel_members_workspace_id_channel_id_fkey FOREIGN KEY (workspace_id, channel_id) REFERENCES public.channels(workspace_id, id);
ALTER TABLE ONLY public.channel_members
    ADD CONSTRAINT channel_members_workspace_id_identity_id_fkey FOREIGN KEY (workspace_id, identity_id) REFERENCES public.identities(workspace_id, id);
ALTER TABLE ONLY public.channels
    ADD CONSTRAINT channels_workspace_id_fkey FOREIGN KEY (workspace_id) REFERENCES public.workspaces(id);
ALTER TABLE ONLY public.identities
    ADD CONSTRAINT identities_owner_fkey FOREIGN KEY (workspace_id, owner_id) REFERENCES public.identities(workspace_id, id);
ALTER TABLE ONLY public.identities
    ADD CONSTRAINT identities_workspace_id_fkey FOREIGN KEY (workspace_id) REFERENCES public.workspaces(id);
ALTER TABLE ONLY public.runs
    ADD CONSTRAINT runs_author_fkey FOREIGN KEY (workspace_id, author_id) REFERENCES public.identities(workspace_id, id);
ALTER TABLE ONLY public.runs
    ADD CONSTRAINT runs_parent_fkey FOREIGN KEY (workspace_id, parent_id) REFERENCES public.runs(workspace_id, id);
ALTER TABLE ONLY public.runs
    ADD CONSTRAINT runs_state_fkey FOREIGN KEY (workspace_id, state_id) REFERENCES public.states(workspace_id, id);
ALTER TABLE ONLY public.states
    ADD CONSTRAINT states_workspace_id_fkey FOREIGN KEY (workspace_id) REFERENCES public.workspaces(id);
ALTER TABLE ONLY public.task_counters
    ADD CONSTRAINT task_counters_workspace_id_fkey FOREIGN KEY (workspace_id) REFERENCES public.workspaces(id);
ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_assignee_fkey FOREIGN KEY (workspace_id, assignee_id) REFERENCES public.identities(workspace_id, id);
ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_channel_fkey FOREIGN KEY (workspace_id, channel_id) REFERENCES public.channels(workspace_id, id);
ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_created_by_fkey FOREIGN KEY (workspace_id, created_by_id) REFERENCES public.identities(workspace_id, id);
ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_parent_fkey FOREIGN KEY (workspace_id, parent_task_id) REFERENCES public.tasks(workspace_id, id);
ALTER TABLE ONLY public.verify_tokens
    ADD CONSTRAINT verify_tokens_workspace_id_agent_id_fkey FOREIGN KEY (workspace_id, agent_id) REFERENCES public.identities(workspace_id, id);
