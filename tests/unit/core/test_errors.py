"""The error tree: one root, one class a kind, everything an error knows survives copying and pickling."""

from __future__ import annotations

import builtins
import inspect
import pickle

import pytest

from clouddirect import errors
from clouddirect.errors import CloudDirectError, MissingExtraError, ThrottledError, UnavailableError

KINDS = [getattr(errors, name) for name in errors.__all__ if name != "CloudDirectError"]


def test_all_is_sorted_and_complete() -> None:
    defined = {
        name for name, value in vars(errors).items() if inspect.isclass(value) and value.__module__ == errors.__name__
    }
    assert errors.__all__ == sorted(errors.__all__)
    assert set(errors.__all__) == defined


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_directly_under_the_root(kind: type[CloudDirectError]) -> None:
    assert CloudDirectError in kind.__bases__


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_drawn_in_the_docstring(kind: type[CloudDirectError]) -> None:
    assert errors.__doc__ is not None
    line = next(line for line in errors.__doc__.splitlines() if f"── {kind.__name__}" in line)
    twins = [base for base in kind.__bases__ if base is not CloudDirectError]
    for twin in twins:
        assert f"{twin.__name__})" in line


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.NotFoundError, FileNotFoundError), (errors.ContainerNotFoundError, FileNotFoundError),
        (errors.AlreadyExistsError, FileExistsError), (errors.PermissionDeniedError, PermissionError),
        (errors.AuthenticationError, PermissionError), (errors.TimeoutError, builtins.TimeoutError),
        (errors.InvalidMessageError, ValueError), (errors.UnavailableError, ConnectionError),
        (errors.MissingExtraError, ImportError), (errors.ProviderNotFoundError, LookupError),
    ],
)  # fmt: skip
def test_errors_with_a_builtin_twin_are_caught_as_it(kind: type[CloudDirectError], builtin: type[Exception]) -> None:
    with pytest.raises(builtin, match="what happened"):
        raise kind("what happened", resource="q")


@pytest.mark.parametrize("kind", [CloudDirectError, *KINDS])
def test_pickling_keeps_everything(kind: type[CloudDirectError]) -> None:
    error = kind("text", provider="p", operation="o", resource="r", code="c", retry_after=2.0, maybe_sent=True)
    twin = pickle.loads(pickle.dumps(error))
    assert type(twin) is kind
    assert twin.__dict__ == error.__dict__
    assert str(twin) == str(error)


@pytest.mark.parametrize("kind", [CloudDirectError, *KINDS])
def test_a_copy_is_marked_on_its_own(kind: type[CloudDirectError]) -> None:
    error = kind("text", resource="r")
    error.__cause__ = ValueError("cause")
    error.add_note("a note")
    twin = error.copy()
    twin.maybe_sent = True
    twin.add_note("another")
    assert type(twin) is kind
    assert twin.__cause__ is error.__cause__
    assert not error.maybe_sent
    assert error.__notes__ == ["a note"]


def test_only_passing_kinds_are_retryable_by_default() -> None:
    passing = {kind for kind in KINDS if kind("x").retryable}
    assert passing == {ThrottledError, UnavailableError, errors.TimeoutError}
    assert UnavailableError("x", retryable=False).retryable is False


def test_ambiguity_shows_in_the_text() -> None:
    assert "may have been sent" in str(UnavailableError("gone", maybe_sent=True))
    assert "own, unconfirmed write" in str(errors.AlreadyExistsError("there", maybe_own_write=True))
    for kind in (errors.TimeoutError, errors.UnavailableError):
        assert str(kind("lost", maybe_own_write=True)) == "lost (the object may have been stored nevertheless)"


def test_missing_extra_keeps_its_text_as_import_error() -> None:
    assert str(MissingExtraError("run pip install x")) == "run pip install x"
