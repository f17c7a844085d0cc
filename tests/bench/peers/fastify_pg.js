// update-task with Fastify and pg. STYLE=transaction is how it is usually written; STYLE=statement puts it all into one.
'use strict'

const crypto = require('node:crypto')
const { Pool } = require('pg')
const fastify = require('fastify')({ logger: false })

const pool = new Pool({ max: 20 }) // where to: PGHOST, PGPORT, PGUSER, PGDATABASE
const PRIORITIES = ['none', 'low', 'medium', 'high', 'urgent']
const KEY_TTL_MS = 10_000
const keys = new Map()

const FIND_KEY = `
  SELECT i.workspace_id, i.id, i.kind
    FROM api_keys k JOIN identities i ON i.workspace_id = k.workspace_id AND i.id = k.identity_id
   WHERE k.hash = $1 AND k.revoked_at IS NULL`

const UPDATE = `
  UPDATE tasks
     SET title = coalesce($4, title), description = coalesce($5, description), status = coalesce($6, status),
         priority = coalesce($7, priority), version = version + 1, updated_at = now(),
         started_at = CASE WHEN $6 = 'in_progress' THEN coalesce(started_at, now()) ELSE started_at END,
         completed_at = CASE WHEN $6 = 'done' AND status <> 'done' THEN now() ELSE completed_at END,
         cancelled_at = CASE WHEN $6 = 'cancelled' AND status <> 'cancelled' THEN now() ELSE cancelled_at END
   WHERE workspace_id = $1 AND id = $2 AND version = $3 AND (created_by_id = $8 OR assignee_id = $8)
  RETURNING *`

const INSERT_EVENT = `
  INSERT INTO task_events (workspace_id, task_id, version, kind, actor_id, actor_kind, request_id, changes)
  VALUES ($1, $2, $3, 'updated', $4, $5, $6, $7)`

const UPDATE_WITH_EVENT = `
  WITH changed AS (${UPDATE}), event AS (
    INSERT INTO task_events (workspace_id, task_id, version, kind, actor_id, actor_kind, request_id, changes)
    SELECT workspace_id, id, version, 'updated', $8, $9, $10, $11 FROM changed)
  SELECT * FROM changed`

async function authenticate (request, reply) {
  const header = request.headers.authorization ?? ''
  const known = keys.get(header)
  if (known !== undefined && known.until > Date.now()) {
    request.actor = known.actor
    return
  }
  const hash = crypto.createHash('sha256').update(header.slice('Bearer '.length)).digest()
  const { rows: [actor] } = await pool.query({ name: 'find-key', text: FIND_KEY, values: [hash] })
  if (actor === undefined) return reply.code(401).send({ success: false })
  keys.set(header, { actor, until: Date.now() + KEY_TTL_MS })
  request.actor = actor
}

async function updateInTransaction (values, actor, requestId, changes) {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    const { rows: [task] } = await client.query(UPDATE, values)
    if (task === undefined) {
      await client.query('ROLLBACK')
      return undefined
    }
    await client.query(INSERT_EVENT,
      [task.workspace_id, task.id, task.version, actor.id, actor.kind, requestId, JSON.stringify(changes)])
    await client.query('COMMIT')
    return task
  } catch (error) {
    await client.query('ROLLBACK')
    throw error
  } finally {
    client.release()
  }
}

async function updateInStatement (values, actor, requestId, changes) {
  const { rows: [task] } = await pool.query({
    name: 'update-with-event',
    text: UPDATE_WITH_EVENT,
    values: [...values, actor.kind, requestId, JSON.stringify(changes)]
  })
  return task
}

const update = process.env.STYLE === 'statement' ? updateInStatement : updateInTransaction

const text = { type: 'string' }
const optional = { type: ['string', 'null'] }
const moment = { type: ['string', 'null'], format: 'date-time' }
const taskSchema = {
  type: 'object',
  properties: {
    id: text, identifier: text, workspaceId: text, title: text, description: optional, status: text, priority: text,
    version: { type: 'integer' }, dueAt: moment, assigneeUserId: optional, assigneeAgentId: optional,
    createdByUserId: optional, createdByAgentId: optional, parentTaskId: optional, channelId: optional,
    originMessageId: optional, originExtractionId: optional, startedAt: moment, completedAt: moment, cancelledAt: moment,
    archivedAt: moment, createdAt: moment, updatedAt: moment, deletedAt: moment
  }
}
const schema = {
  body: {
    type: 'object',
    required: ['taskId', 'version'],
    properties: {
      taskId: { type: 'string', format: 'uuid' },
      version: { type: 'integer', minimum: 1 },
      title: { type: 'string', minLength: 1, maxLength: 500 },
      description: text,
      status: { enum: ['triage', 'backlog', 'todo', 'in_progress', 'blocked', 'in_review', 'done', 'cancelled'] },
      priority: { enum: PRIORITIES }
    }
  },
  response: {
    200: {
      type: 'object',
      properties: {
        success: { type: 'boolean' },
        data: taskSchema,
        meta: { type: 'object', properties: { requestId: text, timestamp: { type: 'string', format: 'date-time' } } }
      }
    }
  }
}

function toTask (row) {
  return {
    id: row.id,
    identifier: `T-${row.number}`,
    workspaceId: row.workspace_id,
    title: row.title,
    description: row.description,
    status: row.status,
    priority: PRIORITIES[row.priority],
    version: row.version,
    dueAt: row.due_at,
    assigneeUserId: row.assignee_kind === 'user' ? row.assignee_id : null,
    assigneeAgentId: row.assignee_kind === 'agent' ? row.assignee_id : null,
    createdByUserId: row.created_by_kind === 'user' ? row.created_by_id : null,
    createdByAgentId: row.created_by_kind === 'agent' ? row.created_by_id : null,
    parentTaskId: row.parent_task_id,
    channelId: row.channel_id,
    originMessageId: null,
    originExtractionId: null,
    startedAt: row.started_at,
    completedAt: row.completed_at,
    cancelledAt: row.cancelled_at,
    archivedAt: null,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    deletedAt: null
  }
}

fastify.post('/v1/agent/update-task', { schema, preHandler: authenticate }, async (request, reply) => {
  const { taskId, version, ...changes } = request.body
  const { actor } = request
  const values = [
    actor.workspace_id, taskId, version, changes.title ?? null, changes.description ?? null, changes.status ?? null,
    changes.priority === undefined ? null : PRIORITIES.indexOf(changes.priority), actor.id
  ]
  const row = await update(values, actor, request.id, changes)
  if (row === undefined) return reply.code(409).send({ success: false })
  return { success: true, data: toTask(row), meta: { requestId: request.id, timestamp: new Date() } }
})

fastify.listen({ host: '127.0.0.1', port: Number(process.env.PORT) })
