"""Where media lie among a run's artifacts: media/NAME/DIGEST.png. The same content under the same name is one file."""

import hashlib

FOLDER = "media"
_DIGITS = 16
_LONGEST = 180  # bytes: a file's name has at most 255


def place_of(name: str, digest: str, ending: str) -> str:
    """Give the path of a file of a name."""
    return f"{folder_of(name)}/{digest[:_DIGITS]}{ending}"


def ending_of(path: str) -> str:
    """Give the ending that `place_of` was given."""
    return path[path.rindex("/") + 1 + _DIGITS :]


def folder_of(name: str) -> str:
    """Give the folder of a name: itself, with what a path cannot hold as %XX; a long one is cut and marked."""
    parts = "/".join(_safe(part) for part in name.split("/"))
    if len(parts.encode()) > _LONGEST:
        parts = f"{parts.encode()[:40].decode(errors='ignore').replace('/', '_')}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return f"{FOLDER}/{parts}"


def _safe(part: str) -> str:
    kept = "".join(c if c.isalnum() or c in " -_.+=@,()[]#~" else "".join(f"%{byte:02X}" for byte in c.encode()) for c in part)
    return kept if kept.strip(".") else kept.replace(".", "%2E") or "%"
