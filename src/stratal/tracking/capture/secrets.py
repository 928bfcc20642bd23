"""Secrets: what looks like one, and how text is masked before it is kept.

Two rules. A *value* of a known shape (a cloud key, a token, a private key, a password in a URL) is masked wherever
it stands. A value that is *named* like a secret (`--db-password X`, `API_TOKEN=X`, `secret: "X"`) is masked whatever
it looks like. Names are read by their words, so that `tokenizer`, `author` and `max_tokens=512` stay readable.
"""

import re
from collections.abc import Sequence
from pathlib import PurePath

MASK = "<masked>"

_SHAPES = (
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----[\s\S]*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)",
    r"\b(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}(?![0-9A-Za-z])",  # cloud access key ids
    r"\bgh[pousr]_[A-Za-z0-9]{20,}",
    r"\bgithub_pat_[A-Za-z0-9_]{20,}",
    r"\bglpat-[A-Za-z0-9_-]{16,}",
    r"\bsk-[A-Za-z0-9_-]{16,}",
    r"\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}",
    r"\bhf_[A-Za-z0-9]{16,}",
    r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    r"\bxapp-[A-Za-z0-9-]{10,}",
    r"\bAIza[0-9A-Za-z_-]{35}",
    r"\bya29\.[0-9A-Za-z_-]{20,}",
    r"\bnpm_[A-Za-z0-9]{30,}",
    r"\bpypi-[A-Za-z0-9_-]{16,}",
    r"\bdckr_pat_[A-Za-z0-9_-]{16,}",
    r"\bdop_v1_[a-f0-9]{32,}",
    r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    r"\beyJ[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]+){0,2}",  # JSON web tokens
    r"(?i:\b(?:bearer|basic)\s+)[A-Za-z0-9+/._~-]{16,}={0,2}",
)
_SHAPE = re.compile("|".join(f"(?:{shape})" for shape in _SHAPES))
# user:password@ and token@ of a URL; a password may hold anything but blanks, quotes and slashes
_IN_URL = re.compile(r"(?<=://)[^\s/@'\"]+(?:@[^\s/@'\"]+)*@(?=[^\s/@'\"])")
# name = value, name: value, "name": "value", in code, configuration and patches
_NAMED = re.compile(
    r"""(?P<name>[A-Za-z_][A-Za-z0-9_.\-]*)(?P<between>["']?\]?\s*(?::\s*[A-Za-z_.]+\s*=|:=|=>|=|:)\s*)"""
    r"""(?:(?P<prefix>[rbuf]{0,2})(?P<quote>"{3}|'{3}|["'])(?P<quoted>(?:\\.|(?!(?P=quote))[\s\S])*)(?P=quote)|(?P<bare>[^\s"'()\[\]{},;]+))"""
)
# a line of a configuration file whose value may hold blanks: `password: correct horse`
_LINE = re.compile(r"^(?P<head>[+\- \t]*(?P<name>[A-Za-z_][\w.\-]*)[ \t]*[:=][ \t]*)(?P<rest>[^\s\"'{\[$|>&*<#][^\n]*)$", re.MULTILINE)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_ANYWHERE = ("secret", "passw", "passphrase", "apikey", "credential", "privatekey", "accesskey")
_AT_END = ("token", "tokens", "pwd", "auth", "dsn", "cookie", "cookies", "private")
_HARMLESS = re.compile(r"(?i)true|false|none|null|yes|no|on|off|[-+]?\d{1,5}(?:\.\d+)?")
_FILE = re.compile(
    r"(?i)(?:\.env(?:\..*)?|.*\.(?:env|pem|key|p12|pfx|jks|keystore|kdbx|asc|gpg)|id_(?:rsa|dsa|ecdsa|ed25519).*|\.netrc|_netrc|"
    r"\.pypirc|\.npmrc|\.pgpass|\.htpasswd|\.git-credentials|(?:.*[._-])?credentials?(?:[._-].*)?|(?:.*[._-])?secrets?(?:[._-].*)?)"
)
CODE = (".py", ".pyx", ".ipynb", ".c", ".cc", ".cpp", ".cu", ".h", ".rs", ".jl", ".r", ".R")


def is_secret_name(name: str) -> bool:
    """Tell whether something of that name holds a secret: `DB_PASSWORD`, `apiKey`, `--hf-token`, not `tokenizer`."""
    words = [word.lower() for word in _WORDS.findall(name)]
    joined = "".join(words)
    return any(part in joined for part in _ANYWHERE) or any(word.endswith(_AT_END) for word in words)


def is_secret_file(path: str) -> bool:
    """Tell whether a file of that name is never to be read: `.env`, `*.pem`, `id_rsa`, `.netrc`, `credentials.json` ..."""
    name = PurePath(path).name
    return not name.endswith(CODE) and _FILE.fullmatch(name) is not None


def mask(text: str, *, is_code: bool = False) -> str:
    """Give the text with all that looks like a secret replaced by `<masked>`. Text without any comes back equal.

    is_code: names are bound to expressions (`token = read()`), so only quoted values count as named secrets."""
    text = mask_shapes(text)
    return _NAMED.sub(_mask_named_quoted, text) if is_code else _NAMED.sub(_mask_named, _LINE.sub(_mask_line, text))


def mask_shapes(text: str) -> str:
    """Mask values of a known shape only, whatever they are called."""
    return _IN_URL.sub(f"{MASK}@", _SHAPE.sub(MASK, text))


def mask_value(name: str, value: str) -> str:
    """Mask a value by its name and its shape."""
    if is_secret_name(name) and _HARMLESS.fullmatch(value) is None:
        return MASK
    return mask(value)


def mask_argv(argv: Sequence[str]) -> tuple[str, ...]:
    """Mask a command line: `--token X`, `--token=X`, `db.password=X`, and values of a known shape."""
    masked: list[str] = []
    is_value_of = ""
    for word in argv:
        if is_value_of and not word.startswith("--"):
            masked.append(mask_value(is_value_of, word))
            is_value_of = ""
            continue
        name, equals, value = word.partition("=")
        masked.append(f"{mask_shapes(name)}={mask_value(name, value)}" if equals and " " not in name else mask(word))
        is_value_of = word if word.startswith("-") and not equals and is_secret_name(word) else ""
    return tuple(masked)


def _mask_named(match: re.Match[str]) -> str:
    name, quoted, bare = match["name"], match["quoted"], match["bare"]
    if not is_secret_name(name):
        return _mask_inside(match)
    if quoted is not None:
        value, quote = quoted, match["quote"]
        if not value or _HARMLESS.fullmatch(value):
            return match[0]
        return f"{name}{match['between']}{match['prefix']}{quote}{MASK}{quote}"
    # `$NAME` and `${NAME}` say where the secret is, and hold none.
    return match[0] if _HARMLESS.fullmatch(bare) or bare.startswith(("$", MASK)) else f"{name}{match['between']}{MASK}"


def _mask_line(match: re.Match[str]) -> str:
    is_kept = not is_secret_name(match["name"]) or _HARMLESS.fullmatch(match["rest"].strip())
    return match[0] if is_kept else f"{match['head']}{MASK}"


def _mask_named_quoted(match: re.Match[str]) -> str:
    return match[0] if match["quoted"] is None else _mask_named(match)


def _mask_inside(match: re.Match[str]) -> str:
    """A harmless name may have a value that holds named secrets itself: `url = "x?password=..."`."""
    quoted, bare = match["quoted"], match["bare"]
    inner = quoted if quoted is not None else bare
    if not inner or ("=" not in inner and ":" not in inner):
        return match[0]
    quote = match["quote"] or ""
    prefix = match["prefix"] or ""
    return f"{match['name']}{match['between']}{prefix}{quote}{_NAMED.sub(_mask_named, inner)}{quote}"
