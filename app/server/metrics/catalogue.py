"""Every metric there is. Nothing is served that does not stand here."""

from typing import Final, Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]

WORKSPACES_MAX: Final = 100
"""How many workspaces have series of their own, the oldest first. The rest is one series, so that their number is bounded."""
OTHERS: Final = "(others)"
"""The label of the rest; no workspace can be called so."""


class Metric(NamedTuple):
    """A name, what stands behind it, and by what it is split."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


COUNTED: Final[tuple[Metric, ...]] = (
    Metric("baton_info", "gauge", "Always 1; which version runs, for which schema.", ("version", "schema")),
    Metric(
        "baton_calls_total",
        "counter",
        "Calls that were answered, whatever the answer.",
        ("door", "operation"),
    ),
    Metric(
        "baton_call_seconds", "histogram", "How long calls took, waiting on purpose included.", ("operation",)
    ),
    Metric(
        "baton_errors_total",
        "counter",
        "Calls that were refused: the code that callers hear, and the exact reason.",
        ("operation", "code", "reason"),
    ),
    Metric(
        "baton_merges_total",
        "counter",
        "Changes that were merged into what others had done since.",
        ("operation",),
    ),
    Metric(
        "baton_replays_total",
        "counter",
        "Calls that got the answer of the first time, under their key.",
        ("operation",),
    ),
    Metric("baton_batch_items", "histogram", "How many calls shared a statement.", ("statements",)),
    Metric(
        "baton_line_length",
        "gauge",
        "Calls that wait for their place in a batch, or for a turn.",
        ("line", "statements"),
    ),
    Metric(
        "baton_line_refusals_total",
        "counter",
        "Calls sent away because too many wait, or for too long.",
        ("line",),
    ),
    Metric("baton_pool_connections", "gauge", "Connections of the pools.", ("state",)),
    Metric("baton_pool_waiting", "gauge", "Statements that wait for a connection of a pool."),
    Metric(
        "baton_database_failures_total",
        "counter",
        "Statements that the database could not serve.",
        ("reason",),
    ),
    Metric(
        "baton_database_connections_lost_total", "counter", "Shared connections to the database that broke."
    ),
    Metric("baton_connections", "gauge", "Connections of callers."),
    Metric("baton_waiting_calls", "gauge", "Calls that wait on purpose, for work or for news."),
    Metric("baton_claims_expired_total", "counter", "Claims whose lease ran out."),
    Metric(
        "baton_tasks_parked_total", "counter", "Tasks that were parked as blocked, because their claims fail."
    ),
    Metric("baton_job_runs_total", "counter", "Portions of a job that were run.", ("job",)),
    Metric("baton_job_failures_total", "counter", "Portions of a job that failed.", ("job",)),
    Metric("baton_job_rows_total", "counter", "Rows that a job has dealt with.", ("job",)),
    Metric("baton_job_seconds_total", "counter", "Time that a job has taken.", ("job",)),
    Metric("baton_job_last_success_timestamp_seconds", "gauge", "When a job last succeeded.", ("job",)),
    Metric("baton_job_last_duration_seconds", "gauge", "How long it took then.", ("job",)),
    Metric("baton_workers", "gauge", "Processes that serve, and have shown it in the last few seconds."),
    Metric(
        "baton_worker_starts_total",
        "counter",
        "Processes that began to serve. More than there should be: they die.",
    ),
)
"""What the processes count themselves."""

READ: Final[tuple[Metric, ...]] = (
    Metric(
        "baton_ready_tasks",
        "gauge",
        "Tasks that wait to be claimed, and for nothing else.",
        ("workspace", "assigned"),
    ),
    Metric(
        "baton_oldest_ready_seconds",
        "gauge",
        "How long nothing has happened to the ready task that waits the longest.",
        ("workspace", "assigned"),
    ),
    Metric("baton_live_claims", "gauge", "Claims that are held.", ("workspace",)),
    Metric(
        "baton_overdue_claims",
        "gauge",
        "Claims whose lease is over and that nobody has ended.",
        ("workspace",),
    ),
    Metric("baton_expiring_keys", "gauge", "API keys that expire within a week.", ("workspace",)),
    Metric("baton_database_up", "gauge", "Whether the database answers whoever reads the gauges."),
    Metric("baton_database_bytes", "gauge", "Size of the database."),
    Metric("baton_database_connections", "gauge", "Connections to the database, of whoever.", ("state",)),
    Metric("baton_database_connections_max", "gauge", "How many the server takes."),
    Metric("baton_database_oldest_transaction_seconds", "gauge", "How long the oldest transaction is open."),
    Metric(
        "baton_database_transaction_ids_used",
        "gauge",
        "Age of the oldest transaction id; Postgres stops at 2 billion.",
    ),
    Metric("baton_database_dead_rows", "gauge", "Rows of a hot table that vacuum has to clear.", ("table",)),
    Metric(
        "baton_database_live_rows", "gauge", "Rows of a hot table, as Postgres estimates them.", ("table",)
    ),
    Metric("baton_gauge_read_timestamp_seconds", "gauge", "When gauges were last read.", ("gauges",)),
    Metric("baton_gauge_seconds", "gauge", "How long that took.", ("gauges",)),
    Metric("baton_gauge_failures_total", "counter", "How often they could not be read in time.", ("gauges",)),
)
"""What is read from the database. Each service that has a metrics port reads it, so do not add up what several say."""

METRICS: Final = (*COUNTED, *READ)
