"""What a command refuses: one line on stderr that says what to do, exit status 1, and nothing made."""

import os
from collections.abc import Iterator

import pytest

from app.operator.cli import main
from tests.installation import Installation


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("refusals") / "data")
    with installation.serving():
        installation.ask("workspace", "create", "acme")
        installation.ask("agent", "create", "bot", "--workspace", "acme")
        installation.ask("user", "create", "ada", "--workspace", "acme", "--email", "ada@example.test")
        yield installation
    installation.remove()


ACME = ("--workspace", "acme")

REFUSED = {
    "a slug that is taken": (("workspace", "create", "acme"), "already a workspace `acme`"),
    "a slug with capitals": (("workspace", "create", "Acme"), "lowercase letters"),
    "a slug with a digit first": (("workspace", "create", "1acme"), "start with a letter"),
    "a slug that is too long": (("workspace", "create", "a" * 64), "63 at most"),
    "an empty slug": (("workspace", "create", ""), "cannot be a slug"),
    "a name that is too long": (("workspace", "create", "long", "--name", "n" * 201), "1 to 200 characters"),
    "a blank name": (("workspace", "create", "blank", "--name", " "), "1 to 200 characters"),
    "a workspace that is not there": (
        ("agent", "create", "bot", "--workspace", "nowhere"),
        "`workspace create nowhere`",
    ),
    "no workspace": (("agent", "create", "bot"), "--workspace"),
    "no handle": (("agent", "create", *ACME), "handle"),
    "a handle that is taken": (("agent", "create", "bot", *ACME), "already a user or agent `bot`"),
    "a handle that a user has": (("agent", "create", "ada", *ACME), "already a user or agent `ada`"),
    "a handle with a blank": (("agent", "create", "my bot", *ACME), "cannot be a handle"),
    "an endless handle": (("agent", "create", "b" * 10_000, *ACME), "63 at most"),
    "an unknown scope": (("agent", "create", "b1", *ACME, "--scopes", "task-eat"), "no scope `task-eat`"),
    "no scope at all": (("agent", "create", "b2", *ACME, "--scopes", " "), "at least one scope"),
    "an owner who is not there": (("agent", "create", "b3", *ACME, "--owner", "nobody"), "`nobody`"),
    "an owner who is an agent": (("agent", "create", "b4", *ACME, "--owner", "bot"), "only a user can own"),
    "a private agent of nobody's": (("agent", "create", "b5", *ACME, "--private"), "--owner"),
    "a channel that is not there": (("agent", "create", "b6", *ACME, "--channel", "nowhere"), "`nowhere`"),
    "an email that is none": (("user", "create", "eve", *ACME, "--email", "eve"), "not an email address"),
    "an email that is taken": (("user", "create", "eve", *ACME, "--email", "ADA@example.test"), "already"),
    "no email": (("user", "create", "eve", *ACME), "--email"),
    "a channel that is there": (("channel", "create", "general", *ACME), "already a channel `general`"),
    "a channel with a bad name": (("channel", "create", "no_good", *ACME), "cannot be a channel"),
    "a channel with a name that no operation takes": (("channel", "create", "a" * 64, *ACME), "63 at most"),
    "a role that does not exist": (
        ("channel", "join", "general", "bot", *ACME, "--role", "king"),
        "reader, poster",
    ),
    "an agent as an admin": (("channel", "join", "general", "bot", *ACME, "--role", "admin"), "never admin"),
    "joining nobody": (("channel", "join", "general", "nobody", *ACME), "`nobody`"),
    "joining nowhere": (("channel", "join", "nowhere", "bot", *ACME), "`nowhere`"),
    "a key for nobody": (("key", "create", "nobody", *ACME), "`nobody`"),
    "a key that expires at once": (("key", "create", "bot", *ACME, "--expires-days", "0"), "--expires-days"),
    "days that are no number": (("key", "create", "bot", *ACME, "--expires-days", "soon"), "--expires-days"),
    "revoking what is not there": (("key", "revoke", "baton_sk_nothing", *ACME), "`key list`"),
    "limiting what is not there": (("key", "limit", "baton_sk_nothing", *ACME), "`key list`"),
    "a limit that is none": (("key", "limit", "baton_sk_nothing", "--per-second", "-1", *ACME), "--help"),
    "keys of nobody": (("key", "list", "nobody", *ACME), "`nobody`"),
    "a token for nobody": (("verify-token", "create", "nobody", *ACME), "`nobody`"),
    "a command that does not exist": (("agent", "dance"), "--help"),
    "an option that does not exist": (("key", "list", *ACME, "--loud"), "--loud"),
    "bytes that are not UTF-8": ((b"workspace", b"create", b"caf\xe9"), "UTF-8"),
    "text that is not UTF-8": ((b"workspace", b"create", b"cafe", b"--name", b"caf\xe9"), "UTF-8"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_command_refuses(
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    what: str,
) -> None:
    """Here in this process, which spares forty starts of Python; the arguments are as the system would hand them over."""
    for name, value in installation.settings.items():
        monkeypatch.setenv(name, value)
    arguments, said = REFUSED[what]
    with pytest.raises(SystemExit) as end:
        main([os.fsdecode(argument) for argument in arguments])
    printed = capsys.readouterr()
    assert (end.value.code, printed.out) == (1, "")
    [line] = printed.err.splitlines()
    assert line.startswith("baton: ")
    assert said in line


@pytest.mark.parametrize("what", ["a slug that is taken", "no handle", "bytes that are not UTF-8"])
def test_a_program_that_refuses_says_so_on_stderr_and_by_its_exit_status(
    installation: Installation, what: str
) -> None:
    arguments, said = REFUSED[what]
    assert said in installation.refusal(*arguments)


def test_a_refused_command_made_nothing(installation: Installation) -> None:
    handles = {key["handle"] for key in installation.ask("key", "list", *ACME)}
    assert handles == {"bot", "ada"}
