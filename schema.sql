-- The whole schema of Baton, in reading order: who there is, what is to be done, what was said, what happened.
--
-- Three rules hold everywhere:
--   * Every table of a tenant leads its primary key, its unique constraints and its foreign keys with
--     workspace_id, and every statement names it: isolation, locality, and the distribution key on the
--     day when one machine is too small.
--   * Rules live here, as NOT NULL, CHECK and foreign keys, with names that errors can quote.
--   * Nothing that every write changes (version, updated_at) stands in an index: such an update stays
--     "heap-only" and touches no index at all.
--
-- app/db/schema.py applies this file to an empty database. One that is older gets there by app/db/migrations/, which
-- change together with this file: a test compares what comes out of both. It refuses to start on what it does not know.

CREATE EXTENSION IF NOT EXISTS pg_trgm;      -- substring search in task_search
CREATE EXTENSION IF NOT EXISTS btree_gin;    -- lets that index lead with workspace_id

-- What this database is: the number of the last migration in it. One row.
CREATE TABLE baton_schema (
    version     integer     NOT NULL,        -- everything is done up to here, so no release before this number's works on it
    applied_at  timestamptz NOT NULL DEFAULT now(),
    prepared    integer,                     -- what only adds is done up to here; null: as version
    fingerprint text                         -- of the catalogue at that moment; null: nobody looked
);
INSERT INTO baton_schema (version) VALUES (6);


-- Who there is ------------------------------------------------------------------------------------------

-- A workspace is a tenant. Nothing in one can be seen from another.
CREATE TABLE workspaces (
    id          uuid        PRIMARY KEY,
    slug        text        NOT NULL CONSTRAINT workspaces_slug_key UNIQUE,
    name        text        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    history_days integer,                    -- messages older than this many days are kept but not shown; null: all are shown
    retention_days integer,                  -- what is done with is removed after so many days, see app/jobs/retention.py; null: never
    swept_xid   xid8,                        -- how far the log was looked through for what may go: (xid, seq) of the last entry
    swept_seq   bigint,
    CONSTRAINT workspaces_history_check CHECK (history_days BETWEEN 1 AND 36500),
    CONSTRAINT workspaces_retention_check CHECK (retention_days BETWEEN 1 AND 36500),
    CONSTRAINT workspaces_slug_check CHECK (slug ~ '^[a-z][a-z0-9-]{0,62}$'),
    CONSTRAINT workspaces_name_check CHECK (length(name) BETWEEN 1 AND 200)
);

-- The last T-number given out in a workspace. Its own narrow table, because the row is locked from the
-- insert of a task to its commit, and nothing else may wait for that. Numbers are consecutive and never reused.
CREATE TABLE task_counters (
    workspace_id  uuid    PRIMARY KEY REFERENCES workspaces (id),
    last_number   integer NOT NULL DEFAULT 0
) WITH (fillfactor = 10);                    -- room for many heap-only versions of one hot row

-- Everyone who can act or be named: humans ("user") and agents. They share one space of handles,
-- because @handle does not say which kind it means.
CREATE TABLE identities (
    workspace_id  uuid        NOT NULL REFERENCES workspaces (id),
    id            uuid        NOT NULL,
    kind          text        NOT NULL,
    handle        text        NOT NULL,
    name          text        NOT NULL,
    email         text,                      -- humans only; resolve-identity finds a human by it
    owner_id      uuid,                      -- agents only: the human who answers for it and sees what it sees
    is_private    boolean     NOT NULL DEFAULT false,  -- agents only: it exists for its owner, the owner's other agents, and who is in a channel with it
    agent_type    text        NOT NULL DEFAULT 'local',
    created_at    timestamptz NOT NULL DEFAULT now(),
    deactivated_at timestamptz,              -- set: has no key, and takes nothing new; what it did and was called stays
    PRIMARY KEY (workspace_id, id),
    CONSTRAINT identities_handle_key UNIQUE (workspace_id, handle),
    CONSTRAINT identities_owner_fkey FOREIGN KEY (workspace_id, owner_id) REFERENCES identities (workspace_id, id),
    CONSTRAINT identities_kind_check CHECK (kind IN ('user', 'agent')),
    CONSTRAINT identities_handle_check CHECK (handle ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    CONSTRAINT identities_email_check CHECK (email IS NULL OR kind = 'user'),
    CONSTRAINT identities_owner_check CHECK (owner_id IS NULL OR kind = 'agent'),
    CONSTRAINT identities_private_check CHECK (NOT is_private OR owner_id IS NOT NULL)
);
CREATE UNIQUE INDEX identities_email_key ON identities (workspace_id, lower(email)) WHERE email IS NOT NULL;
CREATE INDEX identities_owner ON identities (workspace_id, owner_id) WHERE owner_id IS NOT NULL;

-- An API key lets one identity in. Only the SHA-256 of the key is kept; the prefix is for people's eyes.
CREATE TABLE api_keys (
    workspace_id  uuid        NOT NULL,
    id            uuid        NOT NULL,
    identity_id   uuid        NOT NULL,
    hash          bytea       NOT NULL CONSTRAINT api_keys_hash_key UNIQUE,
    prefix        text        NOT NULL,
    scopes        text[]      NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    last_used_at  timestamptz,               -- null until first used; written at most once a minute
    expires_at    timestamptz,               -- null: never
    revoked_at    timestamptz,               -- set once, by revocation
    calls_per_second double precision,       -- what it may ask for; null: as the settings say, 0: no limit
    calls_burst   integer,                   -- and at once; null exactly if that is
    limited_at    timestamptz,               -- when that was last set
    PRIMARY KEY (workspace_id, id),
    FOREIGN KEY (workspace_id, identity_id) REFERENCES identities (workspace_id, id)
);
CREATE INDEX api_keys_identity ON api_keys (workspace_id, identity_id);
CREATE INDEX api_keys_revoked ON api_keys (revoked_at) WHERE revoked_at IS NOT NULL;  -- every process asks for the latest
CREATE INDEX api_keys_limited ON api_keys (limited_at) WHERE limited_at IS NOT NULL;  -- and for these

-- A one-shot token that an agent echoes to prove that its connection works (verify-connection).
CREATE TABLE verify_tokens (
    workspace_id  uuid        NOT NULL,
    hash          bytea       NOT NULL,
    agent_id      uuid        NOT NULL,
    expires_at    timestamptz NOT NULL,
    used_at       timestamptz,               -- set by the first successful echo
    PRIMARY KEY (workspace_id, hash),
    FOREIGN KEY (workspace_id, agent_id) REFERENCES identities (workspace_id, id)
);

-- Where people and agents talk. Kind is fixed for life.
CREATE TABLE channels (
    workspace_id  uuid        NOT NULL REFERENCES workspaces (id),
    id            uuid        NOT NULL,
    name          text        NOT NULL,
    kind          text        NOT NULL DEFAULT 'public',
    purpose       text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    archived_at   timestamptz,               -- set when archived: then it is left out of lists and takes nothing new
    last_position bigint      NOT NULL DEFAULT 0,  -- of its newest message. Whoever posts locks the row from here to its commit
    PRIMARY KEY (workspace_id, id),
    CONSTRAINT channels_kind_check CHECK (kind IN ('public', 'private', 'dm')),
    CONSTRAINT channels_name_check CHECK (name ~ '^[a-z][a-z0-9-]{0,79}$')
) WITH (fillfactor = 20);                    -- room for many heap-only versions of a busy channel's row

-- The name of a public channel is its own. Those of private ones may be taken twice: a refusal would tell of a channel that
-- does not exist for whoever is not in it.
CREATE UNIQUE INDEX channels_public_name_key ON channels (workspace_id, name) WHERE kind = 'public';

-- Membership. A reader sees the channel and its tasks; poster and admin may also write.
CREATE TABLE channel_members (
    workspace_id  uuid        NOT NULL,
    channel_id    uuid        NOT NULL,
    identity_id   uuid        NOT NULL,
    role          text        NOT NULL DEFAULT 'poster',
    joined_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, identity_id, channel_id),
    FOREIGN KEY (workspace_id, channel_id) REFERENCES channels (workspace_id, id),
    FOREIGN KEY (workspace_id, identity_id) REFERENCES identities (workspace_id, id),
    CONSTRAINT channel_members_role_check CHECK (role IN ('reader', 'poster', 'admin'))
);
CREATE INDEX channel_members_channel ON channel_members (workspace_id, channel_id, identity_id);

-- What is remembered of somebody who is no longer in a channel: that they left as a reader, and come back as one, or that
-- they were taken out, and come back only if an admin adds them. An admin who adds them, or the operator, clears it.
CREATE TABLE channel_standings (
    workspace_id  uuid        NOT NULL,
    channel_id    uuid        NOT NULL,
    identity_id   uuid        NOT NULL,
    standing      text        NOT NULL,      -- reader, removed
    removed_by_id uuid,                      -- who took them out and may bring them back; null: they left by themselves
    since         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, channel_id, identity_id),
    FOREIGN KEY (workspace_id, channel_id) REFERENCES channels (workspace_id, id),
    FOREIGN KEY (workspace_id, identity_id) REFERENCES identities (workspace_id, id),
    CONSTRAINT channel_standings_standing_check CHECK (standing IN ('reader', 'removed')),
    CONSTRAINT channel_standings_removed_check CHECK ((removed_by_id IS NULL) = (standing = 'reader'))
);


-- What is to be done ------------------------------------------------------------------------------------

-- A task. Any status may follow any other (the contract has no table of transitions); the stamps below
-- say what happened and are never taken back.
CREATE TABLE tasks (
    workspace_id     uuid        NOT NULL,
    id               uuid        NOT NULL,  -- UUIDv7 made by the service: in order of creation
    number           integer     NOT NULL,  -- the n of T-n
    version          integer     NOT NULL DEFAULT 1,  -- +1 with every change of this row; the optimistic lock
    title            text        NOT NULL,
    description      text,                  -- null: none was written
    status           text        NOT NULL DEFAULT 'todo',
    priority         smallint    NOT NULL DEFAULT 0,  -- 0 none, 1 low, 2 medium, 3 high, 4 urgent
    due_at           timestamptz,           -- null: no due date
    assignee_id      uuid,                  -- null: nobody's
    assignee_kind    text,                  -- that identity's kind, kept beside it so that reads need no join
    created_by_id    uuid        NOT NULL,
    created_by_kind  text        NOT NULL,
    parent_task_id   uuid,                  -- null: a task of its own
    channel_id       uuid,                  -- null: bound to no channel, seen by its participants only
    started_at       timestamptz,           -- first time in progress; never moves again
    completed_at     timestamptz,           -- latest flip to done
    cancelled_at     timestamptz,           -- latest flip to cancelled
    run_id           uuid,                  -- the live claim: the one run whose holder may act for this task; null: nobody's
    failures         smallint    NOT NULL DEFAULT 0,  -- claims that failed or expired since it was last done or set going again
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    -- Derived, because they stand in indexes: a status change that neither opens nor closes the task moves
    -- neither, and so touches no index. urgency counts down from most to least urgent, open before closed.
    is_open          boolean     NOT NULL GENERATED ALWAYS AS (status NOT IN ('done', 'cancelled')) STORED,
    urgency          smallint    NOT NULL GENERATED ALWAYS AS (4 - priority + CASE WHEN status IN ('done', 'cancelled') THEN 5 ELSE 0 END) STORED,
    -- The place in the queue of claims, see operations/runs/ready.py: which queue (0 todo, 1 backlog, null: not
    -- waiting to be claimed), and the rank in it: creation in milliseconds, one week earlier for each priority.
    queue            smallint    GENERATED ALWAYS AS (CASE status WHEN 'todo' THEN 0 WHEN 'backlog' THEN 1 END) STORED,
    claim_rank       bigint      NOT NULL GENERATED ALWAYS AS (
        (extract(epoch FROM created_at AT TIME ZONE 'UTC') * 1000)::bigint - priority * 604800000::bigint) STORED,
    PRIMARY KEY (workspace_id, id),
    CONSTRAINT tasks_number_key UNIQUE (workspace_id, number),
    CONSTRAINT tasks_assignee_fkey FOREIGN KEY (workspace_id, assignee_id) REFERENCES identities (workspace_id, id),
    CONSTRAINT tasks_created_by_fkey FOREIGN KEY (workspace_id, created_by_id) REFERENCES identities (workspace_id, id),
    CONSTRAINT tasks_parent_fkey FOREIGN KEY (workspace_id, parent_task_id) REFERENCES tasks (workspace_id, id),
    CONSTRAINT tasks_channel_fkey FOREIGN KEY (workspace_id, channel_id) REFERENCES channels (workspace_id, id),
    CONSTRAINT tasks_status_check CHECK (status IN ('triage', 'backlog', 'todo', 'in_progress', 'blocked', 'in_review', 'done', 'cancelled')),
    CONSTRAINT tasks_priority_check CHECK (priority BETWEEN 0 AND 4),
    CONSTRAINT tasks_title_check CHECK (length(title) BETWEEN 1 AND 500),
    CONSTRAINT tasks_assignee_check CHECK ((assignee_id IS NULL) = (assignee_kind IS NULL)),
    CONSTRAINT tasks_parent_check CHECK (parent_task_id <> id)
) WITH (fillfactor = 85,                     -- room on the page for the next version of a row
        autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX tasks_assignee ON tasks (workspace_id, assignee_id, urgency, id) WHERE assignee_id IS NOT NULL;
CREATE INDEX tasks_channel ON tasks (workspace_id, channel_id, is_open, id) WHERE channel_id IS NOT NULL;
CREATE INDEX tasks_creator ON tasks (workspace_id, created_by_id, id) WHERE is_open;
CREATE INDEX tasks_parent ON tasks (workspace_id, parent_task_id, id) WHERE parent_task_id IS NOT NULL;
-- Work that waits to be claimed: nobody's, by channel; and somebody's. A task stands in one of the two at most.
CREATE INDEX tasks_ready ON tasks (workspace_id, channel_id, queue, claim_rank, id)
    WHERE queue IS NOT NULL AND assignee_id IS NULL;
CREATE INDEX tasks_ready_assigned ON tasks (workspace_id, assignee_id, queue, claim_rank, id)
    WHERE queue IS NOT NULL AND assignee_id IS NOT NULL;

-- Who sees a task because of what they did: its creator, everyone it was ever assigned to, who commented,
-- who was mentioned; and the owner of any agent among them. Kept, never worked out, so that listing fifty of
-- a million tasks reads fifty rows. Channel members see a bound task without standing here.
--
-- This table and those below have no foreign key to tasks: the one statement that writes them selects the task
-- in the same breath and tasks go with their workspace only, while the check would lock the task's row with every remark.
CREATE TABLE task_participants (
    workspace_id  uuid NOT NULL,
    identity_id   uuid NOT NULL,
    task_id       uuid NOT NULL,
    PRIMARY KEY (workspace_id, identity_id, task_id)
);

-- The words of a task, folded (lower case, one normal form, one sigma), for substring search, and as terms for ranked search. Apart from the
-- task, so that a change of status never touches the large indexes over them.
CREATE TABLE task_search (
    workspace_id  uuid NOT NULL,
    task_id       uuid NOT NULL,
    words         text NOT NULL,             -- the title, a line feed, the description
    -- 'simple': words as they are, of any language. The title weighs more. A text of 50,000 characters always
    -- stays below the megabyte that a tsvector may have.
    terms         tsvector NOT NULL GENERATED ALWAYS AS (
                      setweight(to_tsvector('simple', split_part(words, chr(10), 1)), 'A')
                      || to_tsvector('simple', left(words, 50000))) STORED,
    PRIMARY KEY (workspace_id, task_id)
);
CREATE INDEX task_search_words ON task_search USING gin (workspace_id, words gin_trgm_ops);
CREATE INDEX task_search_terms ON task_search USING gin (workspace_id, terms);


-- How tasks hang together: one row per edge, two views. "blocks" and "duplicate" point from the one to the other;
-- "related" points nowhere and is kept with the lesser id first. A task waits as long as one that blocks it is open.
CREATE TABLE task_relations (
    workspace_id     uuid        NOT NULL,
    from_task_id     uuid        NOT NULL,
    kind             text        NOT NULL,
    to_task_id       uuid        NOT NULL,
    created_by_id    uuid        NOT NULL,
    created_by_kind  text        NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, from_task_id, kind, to_task_id),
    CONSTRAINT task_relations_kind_check CHECK (kind IN ('blocks', 'related', 'duplicate')),
    CONSTRAINT task_relations_self_check CHECK (from_task_id <> to_task_id),
    CONSTRAINT task_relations_related_check CHECK (kind <> 'related' OR from_task_id < to_task_id)
);
CREATE INDEX task_relations_to ON task_relations (workspace_id, to_task_id, kind, from_task_id);


-- How it is done ----------------------------------------------------------------------------------------

-- A State: variables that outlive a run (contract section 18). What it holds is small and read whole, so it is kept whole.
CREATE TABLE states (
    workspace_id  uuid        NOT NULL REFERENCES workspaces (id),
    id            uuid        NOT NULL,
    version       integer     NOT NULL DEFAULT 1,      -- +1 with every change; the ETag
    name          text        NOT NULL,
    root_id       uuid        NOT NULL,                -- the one scope there is
    author_id     uuid,                                -- who made it by itself; null: made with a run, or by 0.1.0
    groups        jsonb       NOT NULL DEFAULT '[]',   -- [{id, title, description}]
    tags          jsonb       NOT NULL DEFAULT '[]',   -- the same
    variables     jsonb       NOT NULL DEFAULT '[]',   -- [{id, scopeId, name, description, schema, value, groupIds, tags, createdAt, updatedAt}]
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, id),
    CONSTRAINT states_name_check CHECK (length(name) BETWEEN 1 AND 500)
);

-- A run: one attempt to do something. The second contract's clients know it as "task" under /v1/tasks and write
-- all of it themselves, times included. A run with a holder is a claim: it belongs to a task, whose run_id names it
-- exactly as long as ended_at is null, and only its operations end it:
--     running -> completed | failed | cancelled, with end_reason saying how.
CREATE TABLE runs (
    workspace_id      uuid        NOT NULL,
    id                uuid        NOT NULL,            -- UUIDv7: in order of creation
    version           integer     NOT NULL DEFAULT 1,  -- +1 with every change but signs of life; the ETag
    kind              text        NOT NULL DEFAULT 'default',
    status            text        NOT NULL DEFAULT 'created',
    title             text,
    description       text,
    target_id         text,                            -- the resource or action it is about
    executor_id       text,                            -- who should handle it
    input             jsonb,
    output            jsonb,
    params            jsonb       NOT NULL DEFAULT '{}',
    errors            jsonb       NOT NULL DEFAULT '[]',  -- [{code, message}]
    parent_id         uuid,                            -- null: stands alone
    state_id          uuid,                            -- set when it was made stateful
    app_id            text,                            -- the installed app concerned
    work_item_id      uuid,                            -- the task it works on; null: none
    author_id         uuid        NOT NULL,
    author_kind       text        NOT NULL,
    started_at        timestamptz,
    ended_at          timestamptz,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    -- Of claims only:
    holder_id         uuid,                            -- who holds the task; null: this run is no claim
    holder_kind       text,
    attempt           integer,                         -- which claim of its task this is, from 1
    claim_key         text,                            -- what the caller named the request, so that it can ask for the same again
    claim_place       smallint,                        -- which of the claims of that request, from 1
    lease_seconds     integer,                         -- how long a sign of life keeps it
    lease_expires_at  timestamptz,                     -- moved by every sign of life, and so in no index
    lease_check_at    timestamptz,                     -- when the expiry job looks next: never after the lease ends, often long before
    progress          real,                            -- last reported: 0 to 1
    note              text,                            -- last reported
    handoff           text,                            -- what the next holder should know
    end_reason        text,                            -- completed, failed, released, lease_expired, superseded, force_released
    loss_unseen       boolean,                         -- true: somebody else ended it, and its holder has not said that they know
    log_length        integer     NOT NULL DEFAULT 0,  -- rows in run_log
    PRIMARY KEY (workspace_id, id),
    CONSTRAINT runs_parent_fkey FOREIGN KEY (workspace_id, parent_id) REFERENCES runs (workspace_id, id),
    CONSTRAINT runs_state_fkey FOREIGN KEY (workspace_id, state_id) REFERENCES states (workspace_id, id),
    CONSTRAINT runs_author_fkey FOREIGN KEY (workspace_id, author_id) REFERENCES identities (workspace_id, id),
    CONSTRAINT runs_status_check CHECK (status IN ('created', 'queued', 'waiting', 'running', 'paused', 'completed', 'failed', 'cancelled')),
    CONSTRAINT runs_kind_check CHECK (kind ~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$'),
    CONSTRAINT runs_parent_check CHECK (parent_id <> id),
    CONSTRAINT runs_claim_check CHECK (holder_id IS NULL OR (
        work_item_id IS NOT NULL AND attempt IS NOT NULL AND lease_expires_at IS NOT NULL AND lease_check_at IS NOT NULL
        AND (end_reason IS NULL) = (ended_at IS NULL)))
) WITH (fillfactor = 70,                     -- heartbeats stay on the page
        autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX runs_work_item ON runs (workspace_id, work_item_id, id) WHERE work_item_id IS NOT NULL;
CREATE INDEX runs_parent ON runs (workspace_id, parent_id, id) WHERE parent_id IS NOT NULL;
CREATE INDEX runs_state ON runs (workspace_id, state_id) WHERE state_id IS NOT NULL;
CREATE INDEX runs_executor ON runs (workspace_id, executor_id, status, id) WHERE executor_id IS NOT NULL;
CREATE INDEX runs_holder ON runs (workspace_id, holder_id, id) WHERE holder_id IS NOT NULL;
CREATE INDEX runs_lost ON runs (workspace_id, holder_id, id) WHERE loss_unseen;
CREATE INDEX runs_live ON runs (workspace_id, holder_id, id) WHERE holder_id IS NOT NULL AND ended_at IS NULL;
CREATE UNIQUE INDEX runs_claim_key ON runs (workspace_id, holder_id, claim_key, claim_place) WHERE claim_key IS NOT NULL;
CREATE INDEX runs_lease ON runs (lease_check_at) WHERE holder_id IS NOT NULL AND ended_at IS NULL;  -- of all workspaces: one job serves them

-- The steps of a run, in order. Append-only; the number comes from the run's row, whose lock makes it a place in
-- the order of commits, so a reader that follows the numbers misses nothing.
CREATE TABLE run_log (
    workspace_id  uuid        NOT NULL,
    run_id        uuid        NOT NULL,
    number        integer     NOT NULL,      -- from 1
    step          jsonb       NOT NULL,      -- {kind, text, data} as it was sent
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, run_id, number)
);


-- What was said -----------------------------------------------------------------------------------------

-- A remark on a task. Never moves the task's version.
CREATE TABLE task_comments (
    workspace_id  uuid        NOT NULL,
    task_id       uuid        NOT NULL,
    id            uuid        NOT NULL,      -- UUIDv7: in order of writing
    author_id     uuid        NOT NULL,
    author_kind   text        NOT NULL,
    body          text        NOT NULL,
    mentions      jsonb       NOT NULL DEFAULT '[]',  -- [{"id": …, "type": "user" or "agent"}], as the wire has it
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, task_id, id),
    CONSTRAINT task_comments_body_check CHECK (length(body) BETWEEN 1 AND 100000)
);

-- A message in a channel. Nothing takes one away. No foreign key to the channel: whoever posts holds the
-- channel's row, which is more than the check would ask for.
CREATE TABLE messages (
    workspace_id  uuid        NOT NULL,
    channel_id    uuid        NOT NULL,
    -- 1, 2, 3, … in its channel. Given out while the channel's row is locked, so a message becomes visible only
    -- after all before it: who reads on from a position misses nothing.
    position      bigint      NOT NULL,
    id            uuid        NOT NULL,      -- UUIDv7 made by the service
    parent_id     uuid,                      -- the message that the thread hangs under; null: not a reply
    sender_id     uuid        NOT NULL,      -- nil: Baton itself
    sender_type   text        NOT NULL,
    kind          text        NOT NULL DEFAULT 'text',  -- text, artifact, task_card, or what a client calls its own
    content       text        NOT NULL,
    metadata      jsonb       NOT NULL DEFAULT '{}',
    reply_count   integer     NOT NULL DEFAULT 0,
    repliers      uuid[]      NOT NULL DEFAULT '{}',  -- who replied, each once. Here, because a reply updates this row
                                                      -- anyway and so sees also who replied just before it
    version       integer     NOT NULL DEFAULT 1,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),  -- the moment itself, not the transaction's: in order of position
    updated_at    timestamptz,               -- null until it changes; replies do not count
    PRIMARY KEY (workspace_id, channel_id, position),
    CONSTRAINT messages_id_key UNIQUE (workspace_id, id),
    CONSTRAINT messages_sender_type_check CHECK (sender_type IN ('human', 'agent', 'system'))
) WITH (fillfactor = 90);                    -- room for the reply counts of the threads on the page
CREATE INDEX messages_thread ON messages (workspace_id, parent_id, position) WHERE parent_id IS NOT NULL;

-- The words of a message, for ranked search: those that were spoken, not task cards. Apart from the message, so
-- that reading a channel does not carry them along.
--
-- No primary key: nothing but the search looks a row up, and with an index that leads with the workspace alone the
-- planner, which cannot know how large this workspace is, would now and then walk through all that was said in it.
CREATE TABLE message_search (
    workspace_id  uuid        NOT NULL,
    message_id    uuid        NOT NULL,
    channel_id    uuid        NOT NULL,
    created_at    timestamptz NOT NULL,
    terms         tsvector    NOT NULL
);
CREATE INDEX message_search_terms ON message_search USING gin (workspace_id, terms);

-- Moves with everything that begins to wait for an answer, so that one look tells whether anything did.
CREATE SEQUENCE unread_mentions_seq;

-- What waits for an answer: a row for everyone whom a message or comment addresses, and for everyone who has a
-- part in the thread it replies in. It goes when they answer there, so that asking what waits costs the same
-- however much was ever said.
CREATE TABLE unread_mentions (
    workspace_id  uuid        NOT NULL,
    identity_id   uuid        NOT NULL,      -- for whom
    place_id      uuid        NOT NULL,      -- where an answer belongs: the message a thread hangs under, or a task
    id            uuid        NOT NULL,      -- the message or comment
    channel_id    uuid,                      -- null: it is a comment
    created_at    timestamptz NOT NULL,
    version       integer,                   -- of a comment: the task's version when it was made. Who has changed it since has acted
    xid           xid8        NOT NULL DEFAULT pg_current_xact_id(),  -- with the horizon below: what is new since a cursor
    seq           bigint      DEFAULT nextval('unread_mentions_seq'),
    PRIMARY KEY (workspace_id, identity_id, place_id, id)
);
CREATE INDEX unread_mentions_newest ON unread_mentions (workspace_id, identity_id, created_at, id);


-- What was answered -------------------------------------------------------------------------------------

-- The first answer to every call that came with an idempotency key, written in the same commit as its effect. A key
-- belongs to the identity that chose it. Reaped by a job when it is IDEMPOTENCY_HOURS old; no foreign keys, for it
-- outlives nothing.
CREATE TABLE idempotency_keys (
    workspace_id  uuid        NOT NULL,
    identity_id   uuid        NOT NULL,
    key           text        NOT NULL,
    operation     text        NOT NULL,
    scope         text,                      -- what the API key needed; whoever asks for the answer needs it too
    fingerprint   bytea       NOT NULL,      -- SHA-256 of operation and body: the same key with another body is refused
    status        smallint    NOT NULL,
    error         text,                      -- null: a success; else the class of app/errors   
    answer        json        NOT NULL,      -- the data or the error; json, not jsonb, because a repetition gets the same bytes
    merged_from   integer,                   -- null: nothing had to be merged
    version       integer,                   -- the ETag of the answer; null where the family has none
    told          json,                      -- what was said beside the answer; null: nothing
    request_id    text        NOT NULL,      -- this and the next as in the first answer's meta
    answered_at   text        NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, identity_id, key),
    CONSTRAINT idempotency_keys_key_check CHECK (length(key) BETWEEN 1 AND 255),
    CONSTRAINT idempotency_keys_fingerprint_check CHECK (length(fingerprint) = 32)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);  -- for the job, which looks across workspaces

-- Whether a call with this key may take effect: nobody has used it, or its only answer was a refusal of another request,
-- which then gives way: a refusal wrote nothing, and whoever corrects a call may send the same key. Until the caller's
-- transaction ends nobody else can take it. Of two at once the second waits here, and then sees what the first stored: a
-- statement by itself sees only what was there when it began, but each query of a volatile function sees what is there now.
CREATE FUNCTION take_key(workspace_id uuid, identity_id uuid, key text, fingerprint text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    refused boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended($1 || ' ' || $2 || ' ' || $3, 0));
    SELECT k.error IS NOT NULL AND k.fingerprint <> decode($4, 'hex') INTO refused
      FROM idempotency_keys k WHERE k.workspace_id = $1 AND k.identity_id = $2 AND k.key = $3;
    IF refused THEN
        DELETE FROM idempotency_keys k WHERE k.workspace_id = $1 AND k.identity_id = $2 AND k.key = $3;
    END IF;
    RETURN refused IS NOT FALSE;
END $$;


-- What happened -----------------------------------------------------------------------------------------

-- The log: one row per change, written by the same statement as the change itself, so there is never one
-- without the other. History, change feed and webhooks read from here and nowhere else.
--
-- Reading it without gaps: sequence numbers become visible out of order when transactions overlap, so a reader
-- first takes the horizon pg_snapshot_xmin(pg_current_snapshot()), then reads rows with xid below it in order
-- of (xid, seq). Below the horizon nothing can still appear.
CREATE TABLE task_events (
    workspace_id  uuid        NOT NULL,
    task_id       uuid        NOT NULL,
    version       integer     NOT NULL,      -- the task's version after the change
    subject_id    uuid        NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',  -- nil: the task itself; else the comment, or a name for what left the version alone
    kind          text        NOT NULL,      -- created, updated, completed, cancelled, blocked, released, commented,
                                             -- claimed, run_completed, run_failed, run_released, run_expired, run_force_released, linked, unlinked;
                                             -- removed: stands where retention took entries out, at the place of the last of them
    actor_id      uuid        NOT NULL,
    actor_kind    text        NOT NULL,
    request_id    text        NOT NULL,
    changes       jsonb       NOT NULL DEFAULT '{}',  -- {"field": [from, to]}, names and values as on the wire
    created_at    timestamptz NOT NULL DEFAULT now(),
    xid           xid8        NOT NULL DEFAULT pg_current_xact_id(),
    seq           bigint      GENERATED ALWAYS AS IDENTITY,
    -- With the nil subject this key says: a version of a task is written once. Remarks made while the task
    -- stood at a version sort behind the change that made it.
    PRIMARY KEY (workspace_id, task_id, version, subject_id)
);
CREATE INDEX task_events_actor ON task_events (workspace_id, actor_id, seq);  -- list-my-activity
CREATE INDEX task_events_feed ON task_events (workspace_id, xid, seq);
CREATE INDEX task_events_removed ON task_events (workspace_id, xid, seq) WHERE kind = 'removed';  -- how far back a cursor may lie
