"""Patient data and secrets show nowhere: not in a log record, not in an error's text, repr or traceback.

Every patient field and every credential holds a marker. Every command of the command line is run with -vv, whatever it
is for and whatever can go wrong with it is provoked, over this machine and over a cloud. Files that the user asked for
are his own; they are readable by their owner alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from clouddirect.cli import cli
from emulators.clouds import CLOUDS, Cloud, both_sides, to_toml
from workflow.canary import (
    PATIENT,
    PICTURE,
    Canary,
    FarSide,
    grading,
    inline_keys,
    modes,
    nothing_there,
    order,
    secrets_in,
)
from workflow.canary_rounds import ALIKE, ROUNDS, STANDARD, Round

#: Run over these; over the other clouds with ``--long``.
PROVIDERS = [
    pytest.param(name, marks=[] if name in ("azure", "local") else [pytest.mark.long]) for name in sorted(CLOUDS)
]
#: A secret that stands where no option is.
MISPLACED = "Misplaced" + "Secret0123456789"


def commands(group: click.Group = cli, path: str = "") -> list[str]:
    """Every command there is."""
    found = []
    for name, command in group.commands.items():
        full = f"{path} {name}".strip()
        found += commands(command, full) if isinstance(command, click.Group) else [full]
    return sorted(found)


@pytest.fixture(scope="module", params=PROVIDERS)
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    with CLOUDS[request.param]() as running:
        yield running


@pytest.fixture
def canary(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Canary]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in [name for name in os.environ if name.startswith("CLOUDDIRECT_")]:
        monkeypatch.delenv(name)
    values = both_sides(cloud, data_dir=str(tmp_path / "ours" / "data"))
    for name, endpoint in values["endpoints"].items():
        endpoint["dead_letter_receive"] = cloud.dead_letters(name)
    inline_keys(values)
    before = os.umask(0)  # so that nothing is private by chance
    yield Canary(tmp_path, values)
    os.umask(before)


@pytest.fixture
def far(canary: Canary) -> Iterator[FarSide]:
    made = FarSide(canary.values)
    yield made
    made.close()


def test_no_command_is_forgotten() -> None:
    assert sorted(ROUNDS) == commands(), "say in canary_rounds.py what the canary does with each command"


@pytest.mark.parametrize(
    "go", dict.fromkeys(ROUNDS.values()), ids=lambda go: next(name for name in ROUNDS if ROUNDS[name] is go)
)
def test_what_a_command_is_for_and_what_can_go_wrong_with_it(
    go: Round, canary: Canary, far: FarSide, long_run: bool
) -> None:
    if not canary.local and go in [ROUNDS[name] for name in ALIKE] and not long_run:
        pytest.skip("shows the same over this machine; over a cloud with --long")
    go(canary, far)
    for command in [name for name in ROUNDS if ROUNDS[name] is go]:
        assert any(words[: command.count(" ") + 1] == command.split() for words, _ in canary.runs)
        canary.run(*command.split(), "--help", code=0)
    canary.check()
    check_private(canary)


def check_private(canary: Canary) -> None:
    """What we have made can be read by its owner alone."""
    if os.name != "posix":
        return
    places = [canary.directory]
    if canary.local:
        places.append(Path(canary.values["endpoints"]["orders"]["path"]).parent)
    for place in places:
        for name, mode in modes(place).items():
            if "/" not in name and (place / name).is_file() and place == canary.directory and name not in MADE:
                continue  # the user's own
            if name.startswith(("demo", "home")):
                continue  # invented
            assert mode in (0o600, 0o700), f"{name}: {mode:o}"


#: Files of ours among the user's.
MADE = ("results.csv", "first.toml", "good.csv.progress", "wrong.csv.progress")


def credentials(kind: str, settings: dict[str, Any]) -> list[str]:
    """The names of the options that are secrets, or what stands for them on this machine."""
    secret = secrets_in({kind: {"one": settings}})
    return [name for name, value in settings.items() if isinstance(value, str) and value in secret] or ["path"]


def wrong_credential(kind: str, settings: dict[str, Any]) -> None:
    """Of the other side, or with other letters."""
    other = {"send": "receive", "receive": "send", "write": "read", "read": "write"}
    if "access" in settings:
        settings["access"] = other[settings["access"]]
        return
    pieces = sorted(secrets_in({kind: {"one": settings}}), key=len)
    for name in credentials(kind, settings):
        shortest = next(piece for piece in pieces if piece in settings[name])
        settings[name] = settings[name].replace(shortest, shortest.swapcase())


def malformed_credential(kind: str, settings: dict[str, Any]) -> None:
    for name in ["access"] if "access" in settings else credentials(kind, settings):
        settings[name] = f"<{settings[name]}\n"


def missing_variable(kind: str, settings: dict[str, Any]) -> None:
    settings[credentials(kind, settings)[0]] = {"env": "NOT_SET_ANYWHERE"}


def missing_file(kind: str, settings: dict[str, Any]) -> None:
    settings[credentials(kind, settings)[0]] = {"file": "/nowhere/secret"}


def unknown_option(kind: str, settings: dict[str, Any]) -> None:
    settings["pasword"] = MISPLACED


def wrong_place(kind: str, settings: dict[str, Any]) -> None:
    settings["dead_letter_send" if kind == "endpoints" else "part_size"] = [MISPLACED]


#: Wrong settings, which every command that needs some meets; and settings that services object to.
TROUBLES: dict[str, Callable[[str, dict[str, Any]], None]] = {
    function.__name__: function for function in (
        missing_variable, missing_file, unknown_option, wrong_place, malformed_credential, wrong_credential,
        nothing_there,
    )
}  # fmt: skip
#: Commands that reach no service, and so are not ended by one.
OFFLINE = ("outbox discard", "outbox list", "outbox retry", "track", "watch")


@pytest.mark.parametrize("trouble", sorted(TROUBLES))
def test_settings_that_are_wrong_and_services_that_refuse(trouble: str, canary: Canary) -> None:
    canary.write("order.json", order())
    canary.write("grading.json", grading())
    canary.write("right.jpg", PICTURE)
    canary.secrets.add(MISPLACED)
    values = canary.changed(TROUBLES[trouble])
    for arguments in commands():
        if arguments in STANDARD and arguments not in OFFLINE:
            canary.run(*STANDARD[arguments], values=values)
    assert sum(code != 0 for _, code in canary.runs) > len(canary.runs) // 2
    canary.check()


def test_files_of_settings_that_cannot_be_read(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    canary.secrets.add(MISPLACED)
    text = to_toml(canary.values)
    for number, broken in enumerate((
        f'{text}\npassword = "{MISPLACED}', f"{MISPLACED}\n{text}", f'{text}\n[{MISPLACED}',
        f'site = "{MISPLACED}"\n{text}',
        f'[outbox]\nwait = "{MISPLACED}"', f'data_dir = ["{MISPLACED}"]', f'[endpoints]\norders = "{MISPLACED}"',
        f'[endpoints.orders]\nprovider = "{MISPLACED}"\nqueue = ["{MISPLACED}"]',
    )):  # fmt: skip
        file = canary.write(f"broken-{number}.toml", broken)
        for command in sorted(STANDARD):
            canary.run_with(file, *STANDARD[command][:1], *STANDARD[command][1:2], code=2)
    file = canary.write("settings.toml", text)
    for name in ("CLOUDDIRECT_ENDPOINTS__ORDERS", "CLOUDDIRECT_OUTBOX__WAIT", "CLOUDDIRECT_ENDPOINT__ORDERS__KEY"):
        with monkeypatch.context() as patch:
            patch.setenv(name, MISPLACED)
            canary.run_with(file, "check", code=2)
    canary.check()


def test_the_canary_is_seen_where_it_shows(canary: Canary) -> None:
    """The watchman is awake: a patient or a secret in a log record, an error or what is printed is noticed."""
    import logging

    from clouddirect.errors import UnavailableError

    secret = next(iter(canary.secrets), MISPLACED)
    log = logging.getLogger("clouddirect.orders")
    says: tuple[Callable[[str], object], ...] = (
        lambda word: log.debug("sent %s", word), lambda word: log.info("sent", extra={"patient": word}),
        lambda word: UnavailableError(f"{word} cannot be sent"), lambda word: canary.note([word]),
    )  # fmt: skip
    for word in (PATIENT, secret):
        for say in says:
            canary.said.clear()
            canary.secrets.add(secret)
            with canary.watching():
                say(word)
            with pytest.raises(AssertionError):
                canary.check()
