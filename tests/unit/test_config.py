"""Settings: every one has a default and an environment variable of its name, and a bad one is named."""

from pathlib import Path

import msgspec
import pytest
from msgspec import Meta

from app.config import BadSetting, Config, from_environment


def test_an_empty_environment_gives_the_defaults() -> None:
    assert from_environment({}) == Config()
    assert (Config().host, Config().port, Config().data_dir) == ("127.0.0.1", 8000, Path(".data"))
    assert Config().postgres_bin_dir is None


def test_an_empty_value_counts_as_unset() -> None:
    assert from_environment(dict.fromkeys(Config.__struct_encode_fields__, "")) == Config()


def test_each_setting_is_read_from_the_variable_of_its_name() -> None:
    values: dict[str, tuple[str, object]] = {
        "HOST": ("0.0.0.0", "0.0.0.0"),
        "PORT": ("0", 0),
        "DATA_DIR": ("/var/lib/baton", Path("/var/lib/baton")),
        "DATABASE_URL": ("postgresql://db/baton", "postgresql://db/baton"),
        "METRICS_PORT": ("9464", 9464),
        "METRICS_HOST": ("0.0.0.0", "0.0.0.0"),
        "DATABASE_POOLER": ("true", True),
        "DATABASE_CONNECTIONS": ("25", 25),
        "POSTGRES_BIN": ("/opt/postgres/bin", "/opt/postgres/bin"),
        "WORKERS": ("4", 4),
        "REQUEST_TIMEOUT_SECONDS": ("2.5", 2.5),
        "STATEMENT_TIMEOUT_SECONDS": ("1", 1.0),
        "IDEMPOTENCY_HOURS": ("48", 48),
        "KEEP_ALIVE_SECONDS": ("20", 20.0),
        "DRAIN_SECONDS": ("5", 5.0),
        "WEB_ORIGINS": ("https://board.example", "https://board.example"),
        "ALLOWED_HOSTS": ("tasks.example", "tasks.example"),
        "MCP_ORIGINS": ("https://agents.example", "https://agents.example"),
        "RATE_LIMIT_KEY_PER_SECOND": ("0.5", 0.5),
        "RATE_LIMIT_KEY_BURST": ("7", 7),
        "RATE_LIMIT_WORKSPACE_PER_SECOND": ("0", 0.0),
        "RATE_LIMIT_WORKSPACE_BURST": ("70", 70),
        "WAITING_KEY_MAX": ("3", 3),
        "WAITING_MAX": ("30", 30),
        "CONNECTIONS_MAX": ("300", 300),
        "SIMILAR_TASKS": ("false", False),
        "LOG_LEVEL": ("warning", "warning"),
        "LOG_FORMAT": ("text", "text"),
    }
    assert set(values) == set(Config.__struct_encode_fields__)
    config = from_environment({name: text for name, (text, _) in values.items()})
    for name, (_, value) in values.items():
        assert getattr(config, name.lower()) == value
        assert value != getattr(Config(), name.lower()), f"{name} is tried with its default"
    assert config.postgres_bin_dir == Path("/opt/postgres/bin")


def test_other_variables_do_not_matter() -> None:
    assert from_environment({"PATH": "/bin", "port": "1", "BATON_PORT": "1", "PYTHONPATH": "."}) == Config()


@pytest.mark.parametrize(
    "name, value",
    [
        ("PORT", "http"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("DATABASE_POOLER", "maybe"),
        ("DATABASE_CONNECTIONS", "1"),
        ("DATABASE_CONNECTIONS", "501"),
        ("WORKERS", "0"),
        ("WORKERS", "2.5"),
        ("REQUEST_TIMEOUT_SECONDS", "0"),
        ("REQUEST_TIMEOUT_SECONDS", "soon"),
        ("STATEMENT_TIMEOUT_SECONDS", "-1"),
        ("STATEMENT_TIMEOUT_SECONDS", "3601"),
        ("IDEMPOTENCY_HOURS", "1"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_a_bad_value_is_refused_and_its_setting_named(name: str, value: str) -> None:
    with pytest.raises(BadSetting, match=f"Bad setting in the environment: `{name}`: .*README"):
        from_environment({name: value})


def test_every_setting_is_described() -> None:
    for field in msgspec.structs.fields(Config):
        info = msgspec.inspect.type_info(field.type)
        described = isinstance(info, msgspec.inspect.Metadata) and (info.extra_json_schema or {}).get(
            "description"
        )
        assert described, (
            f"{field.name} says nothing of itself: write Annotated[…, {Meta.__name__}(description=…)]"
        )


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Config().port = 1  # pyright: ignore[reportAttributeAccessIssue] -- that it cannot is the point


@pytest.mark.parametrize(
    "name, value, said",
    [
        ("PORT", "http", "Expected a whole number, got text."),
        ("DATABASE_POOLER", "perhaps", "Expected true or false, got text."),
        ("LOG_LEVEL", "loud", "'loud' is none of debug, error, info, warning."),
    ],
)
def test_a_bad_setting_is_explained_in_plain_words(name: str, value: str, said: str) -> None:
    with pytest.raises(BadSetting) as refused:
        from_environment({name: value})
    assert said in str(refused.value)
