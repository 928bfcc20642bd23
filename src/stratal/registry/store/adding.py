"""Adding models, versions and aliases inside the caller's transaction."""

from stratal.core.errors import Conflict, Refused
from stratal.core.ids import short
from stratal.core.records import to_json
from stratal.registry.names import check_alias, folded
from stratal.registry.stages import Stage, Verb
from stratal.registry.store import logs, rows
from stratal.registry.versions import Move, Version
from stratal.store.database import Transaction
from stratal.store.uses import blob_use, holds
from stratal.tracking.flavors.manifest import Manifest


def register(
    tx: Transaction, name: str, digest: str, run: str, path: str, manifest: Manifest, *, number: int | None = None
) -> tuple[Version, bool]:
    """Make a version of a manifest whose files are all there, and say whether it is new. Key: (name, digest).

    number: that it had elsewhere, and has here if no version has it."""
    ensure_model(tx, name)
    found = rows.find_by_digest(tx, name, digest)
    version = found or add_version(tx, name, digest, run, path, manifest, number=number)
    for blob in (digest, *(file.digest for file in manifest.files)):
        blob_use(tx, blob, version.ref)
    return version, found is None


def check_run_holds(tx: Transaction, run: str, digest: str, manifest: Manifest) -> None:
    """Where a server asks, raise Refused for a model of which its run does not hold each file: who may read more than whoever logged
    it shall not give them what they only named."""
    if tx.may_read is None:
        return
    for path, blob in (("manifest", digest), *((file.path, file.digest) for file in manifest.files)):
        if not holds(tx, f"run:{run}", blob):
            raise Refused(
                f"run {short(run)} does not hold the {path} of this model: whoever logged it has not sent its bytes",
                hint="log the model in that run: run.log_model(NAME, model)",
            )


def set_alias(tx: Transaction, name: str, alias: str, number: int, *, is_foreign: bool = False) -> Version:
    """Let an alias name a version. Key: (name, alias)."""
    check_alias(alias, is_foreign=is_foreign)
    version = rows.need_version(tx, name, number)
    if rows.find_alias(tx, name, alias) != number:
        rows.set_alias(tx, name, alias, number)
        logs.append(tx, "alias", name, {"alias": alias, "number": number})
    return version


def drop_alias(tx: Transaction, name: str, alias: str) -> bool:
    """Take an alias away; False if there was none."""
    rows.need_model(tx, name)
    dropped = rows.drop_alias(tx, name, alias)
    if dropped:
        logs.append(tx, "alias", name, {"alias": alias})
    return dropped


def ensure_model(tx: Transaction, name: str) -> bool:
    """Make a model without versions; False if it was there. Raises Conflict for a name too like another one."""
    if rows.find_model(tx, name) is not None:
        return False
    alike = rows.find_alike(tx, folded(name))
    if alike is not None:
        raise Conflict(f"model:{name} would be mistaken for model:{alike}", hint=f"register as {alike!r}, or choose another name")
    rows.add_model(tx, name=name, folded=folded(name), owner=tx.actor.name)
    if tx.made is not None:
        tx.made.append(f"model:{name}")
    return True


def add_version(tx: Transaction, name: str, digest: str, run: str, path: str, manifest: Manifest, *, number: int | None = None) -> Version:
    """Make the next version of a model, in Development; or that of a number, if it is free."""
    if number is not None and rows.is_free(tx, name, number):
        rows.reserve_numbers(tx, name, number)
    else:
        number = rows.take_number(tx, name)
    version = Version(
        name=name,
        number=number,
        digest=digest,
        run=run,
        path=path,
        flavor=manifest.flavor,
        features=None if manifest.features is None else manifest.features.ref,
        signature=None if manifest.signature is None else to_json(manifest.signature),
        author=tx.actor.name,
        is_authenticated=tx.actor.is_authenticated,
        at_ns=logs.now_ns(tx),
    )
    rows.add_version(tx, version)
    born = Move(number=number, source=None, target=Stage.DEVELOPMENT, slot=number)
    rows.add_standing(tx, name, born)
    logs.append(tx, Verb.REGISTER, name, {"moves": [born], "number": number, "digest": digest, "run": run, "path": path})
    tx.emit("version", version.ref, to_json({"from": None, "to": Stage.DEVELOPMENT}))
    return version
