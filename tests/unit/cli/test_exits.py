"""Exit codes, and what is told of an error."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator

import click
import pytest
from click.testing import CliRunner

from clouddirect import errors
from clouddirect.cli import cli
from clouddirect.cli.exits import InputError
from clouddirect.cli.logs import configure_logging

from .conftest import CANARY, Ran, Run

WRONG_USE = {
    "ConfigurationError",
    "MissingExtraError",
    "ProviderConflictError",
    "ProviderLoadError",
    "ProviderNotFoundError",
    "UnsupportedError",
}


@pytest.fixture
def failing() -> Iterator[Callable[..., Ran]]:
    """Run a command that raises what it is given."""

    def run(error: BaseException, *options: str, arguments: tuple[str, ...] = ()) -> Ran:
        @click.command("fail")
        @click.option("--json", "as_json", is_flag=True)
        def fail(as_json: bool) -> None:
            raise error

        cli.add_command(fail)
        done = CliRunner().invoke(cli, [*options, "fail", *arguments])
        return Ran(done.exit_code, done.stdout, done.stderr)

    yield run
    cli.commands.pop("fail", None)


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_has_its_exit_code_and_one_line(failing: Callable[..., Ran], name: str) -> None:
    ran = failing(getattr(errors, name)("the queue is gone; make it"))
    assert ran.code == (2 if name in WRONG_USE else 1)
    assert (ran.out, ran.err) == ("", "error: the queue is gone; make it\n")


def test_with_json_the_error_is_an_object_on_stderr(failing: Callable[..., Ran]) -> None:
    ran = failing(errors.NotFoundError("the queue is gone", maybe_sent=True), arguments=("--json",))
    assert (ran.code, ran.out) == (1, "")
    assert json.loads(ran.err) == {
        "error": "the queue is gone (the message may have been sent nevertheless)",
        "code": 1,
    }


def test_the_parts_of_an_input_error_stand_on_lines_of_their_own(failing: Callable[..., Ran]) -> None:
    error = InputError("nothing was sent:", ["a: b", "c: d"])
    assert failing(error).err == "error: nothing was sent:\n  a: b\n  c: d\n"
    told = json.loads(failing(error, arguments=("--json",)).err)
    assert told == {"error": "nothing was sent:; a: b; c: d", "code": 2}


def test_causes_are_told_by_type_and_only_at_vv(failing: Callable[..., Ran]) -> None:
    error = errors.UnavailableError("not reached")
    error.__cause__ = OSError(f"{CANARY} refused")
    error.__cause__.__cause__ = KeyError(CANARY)
    assert failing(error).err == "error: not reached\n"
    assert failing(error, "-v").err == "error: not reached\n"
    told = failing(error, "-vv").err
    assert told == "error: not reached\n  caused by builtins.OSError\n  caused by builtins.KeyError\n"


@pytest.mark.parametrize("options", [(), ("-vv",)])
def test_a_bug_is_told_by_type_and_place_without_values(failing: Callable[..., Ran], options: tuple[str, ...]) -> None:
    error = ValueError(f"invalid: {CANARY}")
    error.__cause__ = KeyError(CANARY)
    ran = failing(error, *options)
    assert ran.code == 1
    assert ran.err.startswith("error: unexpected ValueError at clouddirect/cli/root.py:")
    assert "report it" in ran.err
    assert CANARY not in ran.out + ran.err
    assert "Traceback" not in ran.err


def test_wrong_options_are_wrong_use_and_name_the_help(run: Run) -> None:
    ran = run("events", "--wat")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: No such option")
    assert "clouddirect events --help" in ran.err
    assert json.loads(run("events", "--json", "--wat").err)["code"] == 2


def test_a_global_option_behind_the_command_is_explained(run: Run) -> None:
    assert "goes before the command" in run("events", "--config", "x").err


@pytest.mark.parametrize(
    "arguments",
    [("submit", "-"), ("upload", "x.jpg"), ("events",), ("results",), ("sandbox",)],
    ids=lambda arguments: arguments[0],
)
def test_without_settings_a_command_says_where_it_looked_and_what_to_do(run: Run, arguments: tuple[str, ...]) -> None:
    with open("x.jpg", "wb") as file:
        file.write(b"x")
    ran = run(*arguments, stdin=b"{}")
    assert (ran.code, ran.out) == (2, "")
    assert "clouddirect.toml" in ran.err
    assert "clouddirect init --provider local" in ran.err


def test_without_a_command_the_help_is_shown(run: Run) -> None:
    ran = run()
    assert ran.code == 2
    assert "Exit codes:" in ran.out
    assert all(
        f"{code}  {word}" in ran.out for code, word in enumerate(("done", "failed", "wrong use", "nothing arrived"))
    )


def test_the_version_is_told(run: Run) -> None:
    ran = run("--version")
    assert ran.code == 0
    assert ran.out.startswith("clouddirect, version") or ran.out.startswith("clouddirect ")


def test_every_command_has_help_that_names_its_json(run: Run) -> None:
    commands = [[name] for name, command in cli.commands.items() if not isinstance(command, click.Group)]
    for name, command in cli.commands.items():
        if isinstance(command, click.Group):
            commands += [[name, inner] for inner in command.commands]
    for command in commands:
        ran = run(*command, "--help")
        assert ran.code == 0
        assert "--json" in ran.out


def test_logs_show_no_text_of_an_exception(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(0)
    log = logging.getLogger("clouddirect.somewhere")
    log.info("unseen")
    try:
        raise ValueError(CANARY)
    except ValueError:
        log.warning("it failed", exc_info=True)
    assert capsys.readouterr().err == "warning: it failed (ValueError)\n"
    configure_logging(1)
    log.info("seen")
    log.debug("unseen")
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "clouddirect.somewhere info: seen" in told
