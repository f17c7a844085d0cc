"""Settings: one frozen struct, read once from the environment. Nothing else reads it."""

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from app.wording import explained

PROJECT: Final = Path(__file__).parents[1]

RATE_MAX: Final = 1_000_000_000
CALLERS_MAX: Final = 1_000_000
SECONDS_MAX: Final = 3600.0  # a call that takes longer is not a call any more

Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(gt=0, le=SECONDS_MAX)]


class Config(msgspec.Struct, frozen=True, kw_only=True, rename=str.upper):
    """How to run. Each setting is an environment variable of the same name in capitals."""

    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port to listen on; 0 takes a free one and prints it.")] = 8000
    data_dir: Annotated[Path, Meta(description="Where the embedded Postgres keeps its data.")] = Path(".data")
    database_url: Annotated[
        str, Meta(description="Use this PostgreSQL 15 or newer instead of the embedded one.")
    ] = ""
    database_pooler: Annotated[
        bool, Meta(description="`true` behind a pooler in transaction mode: connections then keep no state.")
    ] = False
    metrics_port: Annotated[
        Port | None,
        Meta(description="Port that serves `/metrics` for Prometheus; 0 takes a free one. Off unless set."),
    ] = None
    metrics_host: Annotated[str, Meta(description="Address of that port.")] = "127.0.0.1"
    database_connections: Annotated[
        int,
        Meta(
            ge=2,
            le=500,
            description="Most connections in each worker's pool. Each worker has seven shared ones besides.",
        ),
    ] = 10
    postgres_bin: Annotated[
        str, Meta(description="Directory of the Postgres binaries to embed; found automatically if empty.")
    ] = ""
    workers: Annotated[
        int, Meta(ge=1, le=64, description="Server processes. More than one helps only from four cores up.")
    ] = 1
    request_timeout_seconds: Annotated[
        Seconds,
        Meta(description="A request that takes this long, or up to 0.1 s longer, is answered with 503."),
    ] = 30.0
    statement_timeout_seconds: Annotated[
        Seconds, Meta(description="The database cancels a statement that takes longer than this.")
    ] = 10.0
    keep_alive_seconds: Annotated[
        Seconds,
        Meta(
            description="A connection that is idle for this long is closed. A proxy must close its own idle connections sooner."
        ),
    ] = 75.0
    drain_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=SECONDS_MAX,
            description="How long calls are still taken after SIGTERM, while `/readyz` answers 503. "
            "Whoever stops the service has to wait half a minute longer.",
        ),
    ] = 0.0
    web_origins: Annotated[
        str,
        Meta(
            description="Origins of web pages that may call, separated by commas. Pages from this machine always may."
        ),
    ] = ""
    mcp_origins: Annotated[
        str, Meta(description="The older name of `WEB_ORIGINS`; those given here may call as well.")
    ] = ""
    allowed_hosts: Annotated[
        str,
        Meta(
            description="Host names that callers may use, separated by commas: for a proxy on the same machine. `*` allows any."
        ),
    ] = ""
    idempotency_hours: Annotated[
        int, Meta(ge=24, le=24 * 366, description="How long a repeated request gets the first answer.")
    ] = 24
    rate_limit_key_per_second: Annotated[
        float,
        Meta(
            ge=0,
            le=RATE_MAX,
            description="What a key may ask for each second; one read of a task is worth 1. 0 for no limit.",
        ),
    ] = 200.0
    rate_limit_key_burst: Annotated[
        int, Meta(ge=1, le=RATE_MAX, description="What a key may ask for at once, after a while of rest.")
    ] = 5000
    rate_limit_workspace_per_second: Annotated[
        float,
        Meta(
            ge=0,
            le=RATE_MAX,
            description="What all keys of a workspace may ask for each second together. 0 for no limit.",
        ),
    ] = 5000.0
    rate_limit_workspace_burst: Annotated[
        int, Meta(ge=1, le=RATE_MAX, description="What they may ask for at once, after a while of rest.")
    ] = 50_000
    waiting_key_max: Annotated[
        int, Meta(ge=1, le=CALLERS_MAX, description="How many calls of one key may wait at a time.")
    ] = 100
    waiting_max: Annotated[
        int, Meta(ge=1, le=CALLERS_MAX, description="How many calls may wait at a time, of all keys.")
    ] = 5000
    connections_max: Annotated[
        int,
        Meta(
            ge=10,
            le=CALLERS_MAX,
            description="How many connections callers may have. Of more, the oldest that says nothing is dropped.",
        ),
    ] = 10_000
    similar_tasks: Annotated[
        bool, Meta(description="Whether the tool create-task names open tasks that look like the new one.")
    ] = True
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="`info` logs one line per request, `warning` only problems."),
    ] = "info"
    log_format: Annotated[
        Literal["json", "text"], Meta(description="The form of the log lines: `json` or `text`.")
    ] = "json"

    @property
    def postgres_bin_dir(self) -> Path | None:
        """The configured directory of Postgres binaries, if any."""
        return Path(self.postgres_bin) if self.postgres_bin else None

    @property
    def allowed_origins(self) -> frozenset[str]:
        """The configured origins of web pages, each as a browser sends it."""
        return frozenset(
            origin.rstrip("/").lower() for origin in (*_listed(self.web_origins), *_listed(self.mcp_origins))
        )

    @property
    def allowed_host_names(self) -> frozenset[str]:
        """The configured names of this server, without ports."""
        return frozenset(name.lower() for name in _listed(self.allowed_hosts))


def _listed(value: str) -> list[str]:
    return [part for item in value.split(",") if (part := item.strip())]


class BadSetting(Exception):
    """A setting in the environment cannot be used; the message names it."""


def from_environment(environ: Mapping[str, str] = os.environ) -> Config:
    """Read the settings; an empty value counts as unset."""
    fields = msgspec.structs.fields(Config)
    given = {f.encode_name: value for f in fields if (value := environ.get(f.encode_name))}
    try:
        return msgspec.convert(given, Config, strict=False, dec_hook=_path)
    except msgspec.ValidationError as e:
        raise BadSetting(
            f"Bad setting in the environment: {explained(e, Config).message} README.md lists the settings."
        ) from None


def libpq(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Libpq's variables: for programs of Postgres that go where DATABASE_URL leads."""
    return {name: value for name, value in environ.items() if name.startswith("PG")}


def forget_libpq(environ: MutableMapping[str, str] = os.environ) -> None:
    """Take libpq's variables out of the environment, for whoever connects to a Postgres of our own.

    They are meant for another one: the operator's. Some would lead there (PGSERVICE, PGHOSTADDR), others ask for what a
    socket does not have (PGREQUIREAUTH, PGTARGETSESSIONATTRS), and there are more with each version of libpq.
    """
    for name in libpq(environ):
        del environ[name]


def _path(wanted: type, value: object) -> Path:
    """What msgspec does not know by itself: the one setting that is a path."""
    assert wanted is Path
    return Path(str(value))
