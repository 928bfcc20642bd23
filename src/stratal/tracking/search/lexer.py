"""The lexer: a filter's text into tokens, each with its place."""

import re
from typing import NamedTuple

from stratal.tracking.search.errors import bad_filter

WORDS = frozenset(("and", "or", "not", "in", "is", "null", "like", "ilike", "contains", "between", "asc", "desc", "true", "false"))
_TOKEN = re.compile(
    r"""(?P<space>\s+)
      |(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])|[+-]inf(?![\w.]))
      |(?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*"|“[^”]*”|‘[^’]*’)
      |(?P<back>`(?:[^`]|``)*`)
      |(?P<op><=|>=|!=|<>|==|=|<|>)
      |(?P<mark>[(),])
      |(?P<name>[^\W\d][\w/:-]*)
      |(?P<dot>\.)""",
    re.VERBOSE,
)
# After a key's first dot comes the rest of the key, bare: `tags.mlflow.runName`, `params.0`, `metrics.val/loss@5`; `params.*` in columns.
_BARE = re.compile(r"[\w/:@\-.]+|\*")


class Token(NamedTuple):
    """kind: name, key, text, back, number, op, mark, dot or end. A text's and a key's value is without its quotes."""

    kind: str
    value: str
    at: int


def tokens(text: str, subject: str = "filter") -> list[Token]:
    """Cut the text. The last token is `end`. Raises Misuse with the place."""
    found: list[Token] = []
    at = 0
    while at < len(text):
        after_dot = bool(found) and found[-1].kind == "dot"
        bare = _BARE.match(text, at) if after_dot else None
        if bare is not None:
            found.append(Token("key", bare[0], at))
            at = bare.end()
            continue
        match = _TOKEN.match(text, at)
        if match is None:
            raise _unreadable(text, at, subject)
        kind, value = str(match.lastgroup), match[0]
        if kind in ("text", "back"):
            value = _unquoted(value)
        if kind != "space":
            found.append(Token(kind, value, at))
        at = match.end()
    return [*found, Token("end", "", len(text))]


def _unquoted(value: str) -> str:
    quote = value[0]
    return value[1:-1].replace(quote * 2, quote)


def _unreadable(text: str, at: int, subject: str) -> Exception:
    if text[at] in "'\"`":
        return bad_filter(text, at, "this quote is never closed", hint=f"end it with {text[at]}", subject=subject)
    if text[at].isdigit() or text[at] in "+-":
        return bad_filter(text, at, "this is not a number", hint="a text or time is quoted: '2026-11-01'", subject=subject)
    if text[at] == ";":
        return bad_filter(text, at, "';' means nothing here", hint="join conditions with and / or", subject=subject)
    return bad_filter(text, at, f"{text[at]!r} means nothing here", hint="odd names go in backticks: params.`my param`", subject=subject)
