"""HTML and SVG as text that cannot be broken into: whatever is not markup already is escaped, and shows what it hides."""

import html
import unicodedata

# Longer texts are cut, and longer names in tables: a report has a bounded size.
LONGEST = 600
LONGEST_NAME = 100
_NAMES = {"class_": "class", "for_": "for"}


class Markup(str):
    """Text that is markup already. Only `tag`, `raw` and `join` make it."""

    __slots__ = ()


def text(value: str, longest: int = LONGEST) -> Markup:
    """Escape a text. Control, bidirectional and invisible characters show as ⟨U+202E⟩; what is too long ends in …"""
    shown = value if len(value) <= longest else value[: longest - 1] + "…"
    visible = "".join(character if _is_plain(character) else f"⟨U+{ord(character):04X}⟩" for character in shown)
    return Markup(html.escape(visible, quote=True))


def name(value: str) -> Markup:
    """Escape a name that stands in a table."""
    return text(value, LONGEST_NAME)


def tag(element: str, *children: str, **attributes: str | float | None) -> Markup:
    """Build an element. Children that are not Markup are escaped; attributes always are; None leaves one out.

    `class_` is class; other underscores become hyphens (stroke_width)."""
    parts = [f' {_NAMES.get(key, key.replace("_", "-"))}="{_attribute(value)}"' for key, value in attributes.items() if value is not None]
    inner = "".join(child if isinstance(child, Markup) else text(child) for child in children)
    return Markup(f"<{element}{''.join(parts)}>{inner}</{element}>")


def join(*parts: str) -> Markup:
    """Put parts side by side, escaping those that are not Markup."""
    return Markup("".join(part if isinstance(part, Markup) else text(part) for part in parts))


def raw(value: str) -> Markup:
    """Take a text of our own, such as a style sheet, as it is. Never for what came from data."""
    return Markup(value)


def _attribute(value: str | float) -> str:
    if isinstance(value, str):
        return text(value, 2000) if not isinstance(value, Markup) else value
    # Two decimals of a pixel are below what is seen.
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _is_plain(character: str) -> bool:
    return unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
