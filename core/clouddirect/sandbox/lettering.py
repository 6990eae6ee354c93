"""Text for a PDF whose fonts know Latin-1 only.

The fonts that every PDF reader has cover Western European letters, and no font file comes with this library. Accents
beyond that are dropped (``Łódź`` becomes ``Lódz``), letters of other scripts become ``?``, and the report then says so
and points to the result's own fields.
"""

from __future__ import annotations

import unicodedata

__all__ = ["Lettering"]

_LONGEST = 400
#: Common characters whose decomposition does not lead to Latin-1.
_NEAREST = str.maketrans(
    {
        "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "−": "-", "‘": "'", "’": "'", "‚": ",", "“": '"', "”": '"',
        "„": '"', "…": "...", "•": "·", "€": "EUR", "™": "TM", "Ł": "L", "ł": "l", "Đ": "D", "đ": "d", "Ħ": "H",
        "ħ": "h", "ı": "i", "Œ": "OE", "œ": "oe", "ẞ": "SS", "Ŋ": "N", "ŋ": "n", "ĸ": "k", "Ŧ": "T", "ŧ": "t",
        "ʻ": "'", "ʼ": "'",
    }
)  # fmt: skip


def _breaks(letter: str) -> bool:
    """Whether it is a control character or ends a line."""
    return unicodedata.category(letter) in ("Cc", "Zl", "Zp")


class Lettering:
    """Makes text printable and remembers whether letters were lost on the way."""

    def __init__(self) -> None:
        self.lost = False

    def __call__(self, text: object) -> str:
        """Return ``text`` in Latin-1, on one line, shortened where it is very long; None gives an empty one."""
        if text is None:
            return ""
        line = " ".join("".join(" " if _breaks(letter) else letter for letter in str(text)).split())
        if len(line) > _LONGEST:
            line = line[: _LONGEST - 3] + "..."
        return "".join(map(self._letter, unicodedata.normalize("NFC", line).translate(_NEAREST)))

    def _letter(self, letter: str) -> str:
        if letter <= "\xff":
            return letter
        if unicodedata.category(letter) in ("Mn", "Cf"):
            return ""  # a lone accent or an invisible mark
        plain = "".join(part for part in unicodedata.normalize("NFKD", letter) if part <= "\xff")
        if not plain:
            self.lost = True
        return plain or "?"
