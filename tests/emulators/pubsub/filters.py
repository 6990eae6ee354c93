"""The filter language of subscriptions: an expression over a message's attributes.

Source: "Filter messages from a subscription". Comparisons are ``attributes:KEY``, ``attributes.KEY = "value"``,
``attributes.KEY != "value"`` and ``hasPrefix(attributes.KEY, "value")``; they combine with NOT (or ``-``), AND, OR
and parentheses. AND and OR do not mix without parentheses. A filter has at most 256 bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from .refusals import Refusal, invalid

__all__ = ["Matcher", "parse_filter"]

#: Tells whether a message with these attributes is delivered.
Matcher = Callable[[Mapping[str, str]], bool]

_MAX_FILTER = 256
_TOKEN = re.compile(r'\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<sign>!=|[=:.,()-])|(?P<word>[A-Za-z_][A-Za-z0-9_-]*))')


def parse_filter(expression: str) -> Matcher:
    """Read a filter.

    Raises:
        Refusal: INVALID_ARGUMENT where it is too long or not of the language.
    """
    if len(expression.encode()) > _MAX_FILTER:
        raise invalid(f"A filter has at most {_MAX_FILTER} bytes.")
    reader = _Reader(expression)
    matcher = reader.expression()
    reader.expect("")
    return matcher


class _Reader:
    """Reads an expression from left to right."""

    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._tokens = [*_tokens(expression), "", ""]  # the end, and what lies behind it
        self._at = 0

    def expression(self) -> Matcher:
        terms = [self._term()]
        joined_by = self._tokens[self._at]
        if joined_by not in ("AND", "OR"):
            return terms[0]
        while self._take(joined_by):
            terms.append(self._term())
        if joined_by == "AND":
            return lambda attributes: all(term(attributes) for term in terms)
        return lambda attributes: any(term(attributes) for term in terms)

    def expect(self, token: str) -> None:
        if not self._take(token):
            raise self._refusal(f"expected {token or 'the end'!r}, found {self._tokens[self._at]!r}")

    def _term(self) -> Matcher:
        if self._take("NOT") or self._take("-"):
            inner = self._term()
            return lambda attributes: not inner(attributes)
        if self._take("("):
            matcher = self.expression()
            self.expect(")")
            return matcher
        if self._take("hasPrefix"):
            self.expect("(")
            key = self._attribute(".")
            self.expect(",")
            prefix = self._text()
            self.expect(")")
            return lambda attributes: key in attributes and attributes[key].startswith(prefix)
        return self._comparison()

    def _comparison(self) -> Matcher:
        if self._tokens[self._at + 1] == ":":
            key = self._attribute(":")
            return lambda attributes: key in attributes
        key = self._attribute(".")
        if self._take("="):
            wanted = self._text()
            return lambda attributes: key in attributes and attributes[key] == wanted
        self.expect("!=")
        unwanted = self._text()
        return lambda attributes: key not in attributes or attributes[key] != unwanted

    def _attribute(self, separator: str) -> str:
        self.expect("attributes")
        self.expect(separator)
        token = self._next()
        return str(json.loads(token)) if token.startswith('"') else token

    def _text(self) -> str:
        token = self._next()
        if not token.startswith('"'):
            raise self._refusal(f"expected a text in quotes, found {token!r}")
        return str(json.loads(token))

    def _take(self, token: str) -> bool:
        if self._tokens[self._at] != token:
            return False
        self._at += token != ""
        return True

    def _next(self) -> str:
        token = self._tokens[self._at]
        if not re.match(r'["A-Za-z_]', token):
            raise self._refusal(f"expected a name or a text, found {token!r}")
        self._at += 1
        return token

    def _refusal(self, why: str) -> Refusal:
        return invalid(f"Invalid filter {self._expression!r}: {why}.")


def _tokens(expression: str) -> list[str]:
    found, at = [], 0
    while expression[at:].strip():
        match = _TOKEN.match(expression, at)
        if match is None:
            raise invalid(f"Invalid filter {expression!r}: cannot read {expression[at:]!r}.")
        found.append(match[0].strip())
        at = match.end()
    return found
