"""Every command of the operator, while a server runs on the same data directory and when none does."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from app.db import schema
from app.operator.administration import ALL_SCOPES, OPERATOR
from tests.installation import Installation

WHOLE_KEY = re.compile(r"baton_sk_[\w-]{43}")
CAMEL_CASE = re.compile(r"[a-z][a-zA-Z]*")


@pytest.fixture(scope="module", params=["while a server runs", "when none does"])
def installation(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("commands") / "data")
    with ExitStack() as stack:
        stack.callback(installation.remove)
        if request.param == "while a server runs":
            stack.enter_context(installation.serving())
        installation.ask("workspace", "create", "acme")
        yield installation


def keys_of(made: dict[str, Any]) -> list[str]:
    assert all(CAMEL_CASE.fullmatch(key) for key in made)
    return list(made)


def test_workspace_create_answers_with_the_workspace(installation: Installation) -> None:
    made = installation.ask("workspace", "create", "blue-moon", "--name", "Blue Moon")
    assert keys_of(made) == ["id", "slug", "name", "createdAt"]
    assert (made["slug"], made["name"]) == ("blue-moon", "Blue Moon")


def test_workspace_set_history_limits_how_far_back_messages_can_be_read(installation: Installation) -> None:
    limited = installation.ask("workspace", "set-history", "acme", "--days", "90")
    assert limited == {"workspaceSlug": "acme", "historyDays": 90}
    assert installation.ask("workspace", "set-history", "acme")["historyDays"] is None


def test_workspace_set_retention_says_how_long_what_is_done_with_is_kept(installation: Installation) -> None:
    limited = installation.ask("workspace", "set-retention", "acme", "--days", "365")
    assert limited == {"workspaceSlug": "acme", "retentionDays": 365}
    [listed] = [one for one in installation.ask("workspace", "list") if one["slug"] == "acme"]
    assert listed["retentionDays"] == 365
    assert installation.ask("workspace", "set-retention", "acme")["retentionDays"] is None


def test_a_workspace_is_exported_and_deleted_whole(installation: Installation, tmp_path: Path) -> None:
    installation.ask("workspace", "create", "leaving")
    installation.ask("user", "create", "ada", "--workspace", "leaving", "--email", "ada@example.test")
    file = tmp_path / "leaving.jsonl"
    made = installation.ask("workspace", "export", "leaving", str(file))
    assert keys_of(made) == ["file", "workspaceSlug", "bytes", "rows"]
    assert len(file.read_text().splitlines()) == made["rows"] + 2
    assert "--yes" in installation.run("workspace", "delete", "leaving").stderr, "nobody is there to answer"
    assert "leaving" in {one["slug"] for one in installation.ask("workspace", "list")}
    deleted = installation.ask("workspace", "delete", "leaving", "--yes")
    assert deleted == {"workspaceSlug": "leaving", "rows": made["rows"]}
    assert "There is no workspace `leaving`" in installation.refusal(
        "workspace", "delete", "leaving", "--yes"
    )


def test_an_agent_is_listed_renamed_deactivated_and_let_in_again(installation: Installation) -> None:
    installation.ask("agent", "create", "veteran", "--workspace", "acme")
    renamed = installation.ask("agent", "rename", "veteran", "--name", "Old Hand", "--workspace", "acme")
    assert (renamed["handle"], renamed["name"]) == ("veteran", "Old Hand")
    done = installation.ask("agent", "deactivate", "veteran", "--workspace", "acme")
    assert keys_of(done) == [
        *("handle", "name", "keysRevoked", "claimsReleased", "openTasks", "onlyAdminOf", "agents"),
        *("deactivatedAt", "undo"),
    ]
    refused = installation.refusal("key", "create", "veteran", "--workspace", "acme")
    assert "`agent reactivate veteran --workspace acme`" in refused
    [listed] = [
        one for one in installation.ask("agent", "list", "--workspace", "acme") if one["handle"] == "veteran"
    ]
    assert (listed["name"], listed["state"], listed["keys"]) == ("Old Hand", "deactivated", 0)
    again = installation.ask(*done["undo"].split())
    assert (again["state"], again["deactivatedAt"]) == ("active", None)
    assert "use `agent` instead" in installation.refusal(
        "user", "deactivate", "veteran", "--workspace", "acme"
    )


def test_agent_create_answers_with_the_agent_and_its_key(installation: Installation) -> None:
    owner = installation.ask("user", "create", "olga", "--workspace", "acme", "--email", "olga@example.test")
    installation.ask("channel", "create", "dev", "--workspace", "acme")
    made = installation.ask(
        *("agent", "create", "coder", "--workspace", "acme", "--name", "The Coder", "--owner", "olga"),
        *("--scopes", "read-and-post", "--channel", "dev", "--private", "--type", "cloud"),
    )
    assert keys_of(made) == [
        *("id", "kind", "handle", "name", "workspaceId", "workspaceSlug", "scopes", "channels"),
        *("keyId", "keyPrefix", "apiKey"),
    ]
    assert (made["kind"], made["handle"], made["name"]) == ("agent", "coder", "The Coder")
    assert made["scopes"] == ["channel-read", "channel-write", "task-read", "task-write"]
    assert made["channels"] == ["dev"], "a private agent is where it was put, and nowhere else"
    assert WHOLE_KEY.fullmatch(made["apiKey"])
    assert made["apiKey"].startswith(made["keyPrefix"])
    assert made["workspaceId"] == owner["workspaceId"]


def test_a_new_agent_may_do_everything_unless_told_otherwise(installation: Installation) -> None:
    made = installation.ask("agent", "create", "almighty", "--workspace", "acme")
    assert made["scopes"] == [scope for scope in ALL_SCOPES if scope != OPERATOR]


def test_a_new_member_stays_out_of_general_when_told_so(installation: Installation) -> None:
    made = installation.ask("agent", "create", "hermit", "--workspace", "acme", "--no-general")
    assert made["channels"] == []


def test_user_create_answers_with_the_user_and_their_key(installation: Installation) -> None:
    made = installation.ask("user", "create", "@ada", "--workspace", "acme", "--email", "ada@example.test")
    assert (made["kind"], made["handle"], made["name"], made["channels"]) == (
        "user",
        "ada",
        "ada",
        ["general"],
    )
    assert WHOLE_KEY.fullmatch(made["apiKey"])


def test_channel_create_answers_with_the_channel(installation: Installation) -> None:
    made = installation.ask(
        "channel", "create", "#secrets", "--workspace", "acme", "--private", "--purpose", "Who knows"
    )
    assert keys_of(made) == ["id", "name", "kind", "workspaceId"]
    assert (made["name"], made["kind"]) == ("secrets", "private")


def test_channel_join_answers_with_the_membership_and_changes_the_role(installation: Installation) -> None:
    installation.ask("channel", "create", "ops", "--workspace", "acme")
    installation.ask("agent", "create", "watcher", "--workspace", "acme")
    made = installation.ask("channel", "join", "ops", "watcher", "--workspace", "acme", "--role", "reader")
    assert keys_of(made) == ["channelId", "channel", "identityId", "handle", "role"]
    assert (made["channel"], made["handle"], made["role"]) == ("ops", "watcher", "reader")
    assert installation.ask("channel", "join", "ops", "watcher", "--workspace", "acme")["role"] == "poster"


def test_a_key_is_rotated_by_making_a_second_and_revoking_the_first(installation: Installation) -> None:
    first = installation.ask("agent", "create", "rotor", "--workspace", "acme", "--scopes", "read-only")
    second = installation.ask("key", "create", "rotor", "--workspace", "acme", "--expires-days", "90")
    assert keys_of(second) == ["id", "handle", "prefix", "scopes", "apiKey"]
    assert second["apiKey"] != first["apiKey"]
    assert second["scopes"] == first["scopes"], "rotating a narrow key must not widen it"

    revoked = installation.ask("key", "revoke", first["keyId"], "--workspace", "acme")
    listed = installation.ask("key", "list", "rotor", "--workspace", "acme")
    assert [(key["id"], key["state"]) for key in listed] == [
        (first["keyId"], "revoked"),
        (second["id"], "active"),
    ]
    assert listed[0] == revoked
    assert listed[0]["revokedAt"] is not None
    assert listed[1]["expiresAt"] is not None


def test_a_key_gets_a_limit_of_its_own_and_loses_it(installation: Installation) -> None:
    made = installation.ask("agent", "create", "calm", "--workspace", "acme")
    limit = ("key", "limit", made["keyPrefix"], "--workspace", "acme")
    said = [
        installation.ask(*limit, "--per-second", "2.5"),
        installation.ask(*limit, "--per-second", "0.01"),
        installation.ask(*limit, "--per-second", "3", "--burst", "7"),
        installation.ask(*limit, "--per-second", "0"),
        installation.ask(*limit),
    ]
    told = [(key["callsPerSecond"], key["callsBurst"]) for key in said]
    assert told == [(2.5, 25), (0.01, 1), (3, 7), (0, 1), (None, None)]
    assert installation.ask("key", "list", "calm", "--workspace", "acme") == [said[-1]]
    assert said[-1]["state"] == "active"


def test_a_key_is_revoked_by_its_visible_prefix_too(installation: Installation) -> None:
    made = installation.ask("agent", "create", "prefixed", "--workspace", "acme")
    revoked = installation.ask("key", "revoke", made["keyPrefix"], "--workspace", "acme")
    assert (revoked["id"], revoked["state"]) == (made["keyId"], "revoked")


def test_keys_are_listed_without_what_lets_one_in(installation: Installation) -> None:
    installation.ask("agent", "create", "discreet", "--workspace", "acme")
    listed = installation.run("key", "list", "--workspace", "acme", "--json").stdout
    plain = installation.run("key", "list", "--workspace", "acme").stdout
    assert "discreet" in listed
    assert "discreet" in plain
    assert not WHOLE_KEY.search(listed + plain)
    assert keys_of(installation.ask("key", "list", "discreet", "--workspace", "acme")[0]) == [
        *("id", "handle", "prefix", "scopes", "state", "createdAt", "lastUsedAt", "expiresAt", "revokedAt"),
        *("callsPerSecond", "callsBurst"),
    ]


def test_verify_token_create_answers_with_the_token(installation: Installation) -> None:
    agent = installation.ask("agent", "create", "verified", "--workspace", "acme")
    made = installation.ask("verify-token", "create", "verified", "--workspace", "acme")
    assert keys_of(made) == ["token", "agentId", "handle", "expiresAt"]
    assert (made["agentId"], made["handle"]) == (agent["id"], "verified")


def test_schema_apply_leaves_a_schema_that_is_there_alone(installation: Installation) -> None:
    answer = installation.ask("schema", "apply")
    assert (answer["version"], answer["applied"], answer["files"]) == (schema.VERSION, False, [])


def test_schema_check_answers_with_the_version(installation: Installation) -> None:
    answer = installation.ask("schema", "check")
    assert (answer["version"], answer["fits"], answer["pending"]) == (schema.VERSION, True, [])


def test_people_read_one_fact_per_line(installation: Installation) -> None:
    done = installation.run(
        "agent", "create", "plain", "--workspace", "acme", "--scopes", "task-read,task-write"
    )
    assert done.returncode == 0, done.stderr
    facts = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert (facts["handle"], facts["scopes"]) == ("plain", "task-read, task-write")
    assert WHOLE_KEY.fullmatch(facts["apiKey"])


def test_every_command_explains_itself(installation: Installation) -> None:
    for command in (["--help"], ["agent", "create", "--help"], ["channel"], []):
        done = installation.run(*command)
        assert "Usage: python -m app" in done.stdout + done.stderr
