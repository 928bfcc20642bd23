"""W&B artifacts: the manifest stands in the record, the contents lie in W&B's data folder, if anywhere."""

import json
from base64 import b64encode
from hashlib import md5, sha256
from pathlib import Path

from stratal.core.errors import Damaged
from stratal.interop.bounds import artifact_path, read_json, safe_file
from stratal.interop.foreign import Linked, Saved, Skipped, Stated, Statement
from stratal.interop.protobuf import Fields, blob, text, texts
from stratal.interop.wandb.messages import artifact_manifest


class Artifacts:
    """Turns records of artifacts into statements. staged: W&B's data folder, None if nobody named it; store: names the project."""

    def __init__(self, staged: Path | None, store: str) -> None:
        self._staged, self._store = staged, store

    def logged(self, found: Fields, at_ns: int) -> list[Statement]:
        """Give what the record of a logged artifact says: a statement, an edge, its manifest, and the contents that can be found."""
        kind, name, digest = text(found, 4), text(found, 5), text(found, 6)
        entries = artifact_manifest(found)
        body: dict[str, object] = {
            "type": kind, "name": name, "digest": digest, "description": text(found, 7), "aliases": texts(found, 11),
            "tags": texts(found, 19), "metadata": _metadata(blob(found, 8)), "files": len(entries),
        }  # fmt: skip
        manifest = json.dumps({**body, "files": entries}, ensure_ascii=True).encode()
        folder = artifact_path("artifacts", name)
        said: list[Statement] = [
            Stated(kind="artifact", subject=self._ref(name, digest), body=body, at_ns=at_ns),
            Linked(verb="produced", target=self._ref(name, digest), role=kind or "data", at_ns=at_ns),
            Saved(path=f"{folder}/manifest-{digest[:8] or 'none'}.json", data=manifest, at_ns=at_ns),
        ]
        for entry in entries:
            said.extend(self._content(folder, entry, at_ns))
        return said

    def used(self, found: Fields, at_ns: int) -> list[Statement]:
        """Give what the record of a used artifact says."""
        target = f"{self._store}/{text(found, 3) or text(found, 1)}"
        return [Linked(verb="used", target=target, role=text(found, 2) or "data", at_ns=at_ns)]

    def _content(self, folder: str, entry: dict[str, object], at_ns: int) -> list[Statement]:
        path, digest, staged = str(entry["path"]), str(entry["digest"]), str(entry["staged"])
        if ref := str(entry["ref"]):  # recorded, never fetched
            return [Linked(verb="produced", target=ref, role="reference", at_ns=at_ns)]
        if self._staged is None:
            reason = "contents do not lie in the run's folder: name W&B's data folder with --files"
            return [Skipped(what="artifact files", reason=reason, by_rule=True)]
        places = (f"artifacts/staging/{staged}", f"staging/{staged}", staged)
        file = next((file for place in places if staged and (file := safe_file(self._staged, place)) is not None), None)
        if file is None:
            return [Skipped(what="artifact files", reason="not in the folder that --files names", by_rule=False)]
        if _md5(file) != digest:
            return [Skipped(what="artifact files", reason="not the bytes that the manifest speaks of", by_rule=False)]
        return [
            Saved(path=artifact_path(folder, path), data=file, at_ns=at_ns),
            Linked(verb="produced", target=f"sha256:{_sha256(file)}", role=folder.partition("/")[2], at_ns=at_ns),
        ]

    def _ref(self, name: str, digest: str) -> str:
        return f"{self._store}/{name}:{digest[:12]}"


def _metadata(data: bytes) -> object:
    try:
        return read_json(data) if data else {}
    except Damaged:
        return data.decode("utf-8", "replace")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        hashing = md5(usedforsecurity=False)  # W&B's own digest
        while piece := file.read(1 << 20):
            hashing.update(piece)
    return b64encode(hashing.digest()).decode()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        hashing = sha256()
        while piece := file.read(1 << 20):
            hashing.update(piece)
    return hashing.hexdigest()
