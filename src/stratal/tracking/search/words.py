"""Words: what full text search sees of a text. The same in every store, because the words are cut here and not by a database."""

import re

# Longer ones are cut, when they are kept and when they are looked for: nobody types so much, and an index page holds many.
LONGEST = 40
_WORD = re.compile(r"\w+")


def words_of(*texts: str) -> set[str]:
    """Give the words of texts: letters, digits and underscores, without case."""
    return {word[:LONGEST] for text in texts for word in _WORD.findall(text.casefold())}


def has_words(wanted: str, *texts: str) -> bool:
    """Tell whether each word that is wanted begins a word of the texts."""
    held = words_of(*texts)
    return all(any(word.startswith(beginning) for word in held) for beginning in words_of(wanted))
