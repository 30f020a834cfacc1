"""How a name in A-labels is shown to people: in Unicode, unless it could be taken for another name.

The rules are those of browsers: a label is of one script, or of those that are written together in
Chinese, Japanese and Korean; it is no label that consists of letters that look like Latin ones; and
it has no letter, digit or mark that only specialists know. What is left stays in A-labels, and so
do right-to-left scripts, which would change the order of what stands beside them in a table, and
emoji. A name as it is shown can always be typed: it is stored as the same A-labels.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from types import MappingProxyType

from certctl.model.names import stored_name, unicode_name

_SCRIPTS = MappingProxyType(
    {
        each: each
        for each in (
            *("ARMENIAN", "BENGALI", "BOPOMOFO", "CYRILLIC", "DEVANAGARI", "ETHIOPIC", "GEORGIAN"),
            *("GREEK", "GUJARATI", "GURMUKHI", "HANGUL", "HIRAGANA", "KANNADA", "KATAKANA"),
            *("KHMER", "LAO", "LATIN", "MALAYALAM", "MYANMAR", "ORIYA", "SINHALA", "TAMIL"),
            *("TELUGU", "THAI"),
        )
    }
    | {"CJK": "HAN", "IDEOGRAPHIC": "HAN", "KATAKANA-HIRAGANA": "KATAKANA"}
)
"""Scripts that are in use and written from left to right, by the first word of a character's name.
"""

_TOGETHER: tuple[frozenset[str], ...] = (
    frozenset({"LATIN", "HAN", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "HAN", "BOPOMOFO"}),
    frozenset({"LATIN", "HAN", "HANGUL"}),
)

_LIKE_LATIN = MappingProxyType(
    {
        "ARMENIAN": frozenset("ագզէլհյոսւօ"),
        "CYRILLIC": frozenset("асԁеԍһіјӏорԗԛѕԝхуъьҽпгѵѡ"),
        "ETHIOPIC": frozenset("ሀሠሰስበነዐዘጠፀ"),
        "GEORGIAN": frozenset("იოყძხჽჿ"),
        "GREEK": frozenset("αγικνορτυωηχ"),
        "LAO": frozenset("ທນບພຣຫແອດລປຟມ"),
        "THAI": frozenset("ทนบพรหแอดลปฟม"),
    }
)
"""Letters that are easily read as Latin ones or as digits; a label of nothing else is not shown."""

_AT_HOME = MappingProxyType(
    {
        "ARMENIAN": frozenset({"am"}),
        "CYRILLIC": frozenset({"bg", "by", "kg", "kz", "mk", "mn", "rs", "ru", "su", "ua", "uz"}),
        "ETHIOPIC": frozenset({"er", "et"}),
        "GEORGIAN": frozenset({"ge"}),
        "GREEK": frozenset({"cy", "gr"}),
        "LAO": frozenset({"la"}),
        "THAI": frozenset({"th"}),
    }
)
"""Top-level domains below which a label in this script is expected."""

_RANGES = MappingProxyType(
    {
        "CYRILLIC": ((0x400, 0x45F), (0x48A, 0x52F)),
        "GREEK": ((0x370, 0x3FF),),
        "LATIN": ((0x00, 0x17F), (0x1A0, 0x1A1), (0x1AF, 0x1B0), (0x218, 0x21B), (0x1E00, 0x1EFF)),
    }
)
"""The characters of a script that people who use it know; those of other scripts all count."""

_RARE = frozenset("ĸŀŉſ")
_DOTLESS = "\N{LATIN SMALL LETTER DOTLESS I}"
_DOTLESS_AT_HOME = frozenset({"az", "tr"})
_STROKES = frozenset("ノンソゾー一丶丿〇工")
"""East Asian characters that look like a stroke or a digit after a Latin letter."""

_PLAIN = frozenset({None, "LATIN"})


def shown_name(name: str) -> str:
    """Return a name as people are shown it: with A-labels in Unicode if that is safe. What is no
    name in A-labels stays as it is.
    """
    if "xn--" not in name:
        return name
    prefix = "*." if name.startswith("*.") else ""
    decoded = unicode_name(name.removeprefix("*.")).split(".")
    labels = [
        readable if readable == label or _safe(readable, decoded) else label
        for label, readable in zip(name.removeprefix("*.").split("."), decoded, strict=True)
    ]
    shown = ".".join(labels)
    return prefix + shown if stored_name(shown) == name.removeprefix("*.") else name


def shown_names(names: Iterable[str]) -> list[str]:
    """Return each of the names as people are shown it."""
    return [shown_name(each) for each in names]


def _safe(label: str, labels: list[str]) -> bool:
    """Return whether a label in Unicode is shown in a name of these labels."""
    scripts = {_script(each) for each in label if each not in "-0123456789"}
    if None in scripts or not (len(scripts) == 1 or any(scripts <= each for each in _TOGETHER)):
        return False
    top = labels[-1]
    if _DOTLESS in label and top not in _DOTLESS_AT_HOME:
        return False
    if len(scripts) > 1:
        before = zip("-" + label, label, strict=False)
        return not any(one in _STROKES and _script(last) in _PLAIN for last, one in before)
    (script,) = scripts
    return script is None or not _looks_latin(label, script, labels)


def _looks_latin(label: str, script: str, labels: list[str]) -> bool:
    alike = _LIKE_LATIN.get(script, frozenset())
    letters = {each for each in label if each not in "-0123456789"}
    if not letters <= alike or labels[-1] in _AT_HOME[script]:
        return False
    # as in a top-level domain of the same script, which has other letters
    return label == labels[-1] or {_script(each) for each in labels[-1]} != {script}


def _script(character: str) -> str | None:
    """Return the script of a letter or mark; None if a label with it stays in A-labels."""
    first = unicodedata.name(character, "").split(" ", 1)[0]
    script = _SCRIPTS.get(first)
    ranges = _RANGES.get(script or "")
    known = ranges is None or any(low <= ord(character) <= high for low, high in ranges)
    if script is None or not known or character in _RARE or unicodedata.category(character) == "Nd":
        return None
    return script
