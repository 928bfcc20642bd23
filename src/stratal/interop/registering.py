"""Bringing registered models of other tools into the registry: versions in the order of their numbers, stages and aliases.

What people have moved here since is never moved back: a stage is set on a version that nobody but an import has moved, an alias where
there is none, or where the last import has put it.
Each change stands in the audit log with the reason that it was imported.
"""

import re
from hashlib import sha256

from stratal.core.errors import Misuse, NotFound, Refused
from stratal.core.progress import Progress
from stratal.interop.applying import Applied, apply_source, is_unchanged
from stratal.interop.batches import SourceId
from stratal.interop.foreign import Linked, Remark, Skipped, Statement
from stratal.interop.operations import MOST_VERSION, ImportedModels, ImportStore
from stratal.interop.port import ForeignModel, ForeignVersion, OnceSource
from stratal.interop.report import Tally
from stratal.registry import ModelStore, Stage
from stratal.registry.names import check_model_name
from stratal.store.store import Store
from stratal.tracking.flavors.manifest import Manifest, ModelFile

REASON = "imported from {tool}, where it stood in {stage}"


def register_model(store: Store, model: ForeignModel, tally: Tally, remarks: list[Remark], progress: Progress) -> Applied:
    """Register what is not here yet. Every step may be repeated; the home is applied last, and marks that all of it was done.

    Raises Misuse, NotFound, Conflict and Refused as the registry does."""
    if is_unchanged(store, model.home):
        return apply_source(store, model.home, progress)
    registering = _Registering(store, model, tally, remarks, progress)
    for version in sorted(model.versions, key=lambda each: each.number):
        registering.version(version)
    registering.aliases()
    registering.describe()
    return apply_source(store, model.home, progress)


class _Registering:
    """One model on its way into the registry."""

    def __init__(self, store: Store, model: ForeignModel, tally: Tally, remarks: list[Remark], progress: Progress) -> None:
        self._progress = progress
        self._store, self._model, self._tally, self._remarks = store, model, tally, remarks
        self._models = ModelStore(store)
        self._tool = model.home.run.tool
        self._name = clean_name(model.name)
        self._numbers: dict[int, int] = {}
        [home] = ImportStore(store).look(sources=[SourceId(foreign=model.home.run, part=b"")])
        self._home = home.run if home.has_begun else None  # the run that the last import left
        if self._name != model.name:
            remarks.append(Remark(f"the model {model.name!r} is called {self._name!r} here"))

    def version(self, version: ForeignVersion) -> None:
        """Register a version; one whose files are not here is lost, for nobody could load it."""
        if not version.files:
            self._skip(Skipped(what="model versions", reason="their files are not here", by_rule=False))
            self._remarks.append(Remark(f"{self._model.name} version {version.number}: its files are not here", is_loss=True))
            return
        digest = self._manifest(version)
        came_from = SourceId(foreign=version.run or self._model.home.run, part=b"")
        [standing] = ImportStore(self._store).look(sources=[came_from])
        done = ImportedModels(self._store).register_imported(
            name=self._name, digest=digest, origin=standing.run, path=version.path,
            number=version.number if 0 < version.number <= MOST_VERSION else None, last=min(self._model.last, MOST_VERSION),
        )  # fmt: skip
        number = self._numbers[version.number] = done.version.number
        if done.is_new:
            self._tally.imported("model versions")
        if number != version.number:
            self.alias(word := f"{self._tool}-{version.number}", version.number)
            self._remarks.append(Remark(f"{self._model.name} version {version.number} is {done.version.ref} here: its alias is {word}"))
        self._stage(number, Stage(version.stage))
        if version.run is not None:  # so that lineage leads from the version to its run
            said: list[Statement] = [Linked(verb="produced", target=done.version.ref, role="model", at_ns=version.run.started_ns)]
            part = f"model version {self._model.name}/{version.number}"
            self._tally.add(apply_source(self._store, OnceSource(said, run=version.run, part=part, name=part), self._progress).tally)

    def aliases(self) -> None:
        """Set the aliases as they are there, and take away those that are no more, but for what people have set otherwise here."""
        before = {} if self._home is None else self._model.aliases_before(self._store, self._home)
        for word, number in self._model.aliases.items():
            self.alias(word, number, before.get(word))
        gone = {word: self._numbers[there] for word, there in before.items() if word not in self._model.aliases and there in self._numbers}
        for word, number in gone.items():
            if self._models.aliases(name=self._name).get(word) == number:
                self._models.drop_alias(name=self._name, alias=word)
                self._remarks.append(Remark(f"the alias {word!r} of model:{self._name} was taken away here, too"))

    def alias(self, word: str, there: int, before: int | None = None) -> None:
        """Set an alias that is not here yet, or that still is where the last import has put it. before: the version of then."""
        number = self._numbers.get(there)
        if number is None:
            self._skip(Skipped(what="aliases", reason="their version is not here", by_rule=True))
            return
        standing = self._models.aliases(name=self._name).get(word)
        if standing == number:
            return
        if standing is None or (before is not None and standing == self._numbers.get(before)):
            try:
                self._models.set_alias(name=self._name, alias=word, number=number, is_foreign=True)
            except Misuse as error:
                self._skip(Skipped(what="aliases", reason=error.message, by_rule=False))
                return
            self._tally.imported("aliases")
        else:
            self._remarks.append(
                Remark(f"the alias {word!r} of model:{self._name} stays at version {standing}, as it was set here; there it is at {there}")
            )

    def describe(self) -> None:
        """Tell what was said of the model, if any version of it is here, or it has none there."""
        if self._numbers or not self._model.versions:
            stays = self._model.describe(self._store, self._name, self._numbers, self._home)
            self._remarks += [Remark(line) for line in stays]

    def _manifest(self, version: ForeignVersion) -> str:
        """Keep the files and a manifest of them, whose digest is that of the version."""
        blobs = self._store.blobs
        digests = [(path, blobs.put_file(file)) for path, file in sorted(version.files)]
        files = tuple(ModelFile(path=path, digest=digest, size_bytes=blobs.size_bytes(digest)) for path, digest in digests)
        manifest = blobs.put(Manifest(flavor=self._model.flavor, files=files, versions=version.identity).encode())
        if self._store.remote:
            self._store.ship_now([digest for _, digest in digests] + [manifest])
        return manifest

    def _stage(self, number: int, stage: Stage) -> None:
        standing = self._models.standings(name=self._name)[number].stage
        if standing is stage:
            return
        if stage is Stage.DEVELOPMENT or self._was_moved(number):
            if stage is not Stage.DEVELOPMENT:
                self._remarks.append(
                    Remark(f"model:{self._name}@{number} stays in {standing}, as it was moved here; there it is in {stage}")
                )
            return
        reason = REASON.format(tool=self._tool, stage=stage)
        try:
            if stage is Stage.ARCHIVED:
                self._models.archive(name=self._name, number=number, reason=reason)
            else:
                seen = self._models.assess(name=self._name, number=number, stage=stage)
                self._models.promote(
                    name=self._name, number=number, stage=stage, epoch=seen.epoch, evidence=seen.evidence, reason=reason,
                    keep_others=self._models.policy(name=self._name) is None,
                )  # fmt: skip
        except (Refused, NotFound, Misuse) as error:
            self._skip(Skipped(what="stages", reason=error.message.partition("\n")[0], by_rule=False))
            return
        self._tally.imported("stages")

    def _skip(self, skipped: Skipped) -> None:
        """Let the home say it: so it is counted with all that is known of the model, and again by each later import."""
        self._model.left_out.append(skipped)

    def _was_moved(self, number: int) -> bool:
        """Tell whether somebody has moved a version, and not an import of ours."""
        entries = self._models.history(name=self._name)
        moved = [entry for entry in entries if any(move.number == number and move.source is not None for move in entry.moves)]
        return bool(moved) and REASON.partition(",")[0].format(tool=self._tool) not in moved[-1].body


def clean_name(name: str) -> str:
    """Give a name that the registry takes: the same if it does, else a cleaned one with a digest that keeps it apart."""
    try:
        return check_model_name(name)
    except Misuse:
        clean = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_")[:100]
        return f"{clean or 'model'}-{sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
