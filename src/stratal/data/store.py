"""What the store holds of datasets: all SQL of the room."""

from collections.abc import Sequence

from sqlalchemy import bindparam, func, select, update

from stratal.core.errors import Misuse, NotFound, Refused
from stratal.core.ids import short
from stratal.core.people import Role
from stratal.core.records import from_json, to_json
from stratal.data.findings import Finding
from stratal.data.tables import dataset_version as t
from stratal.data.versions import (
    ColumnType,
    DatasetVersion,
    Deletion,
    Part,
    Status,
    Verdict,
    check_dataset_name,
    choose,
    need_content,
    unknown_name,
)
from stratal.store.database import Row, Transaction, insert
from stratal.store.operations import operation
from stratal.store.store import Store
from stratal.store.uses import blob_use, check_named, drop_uses
from stratal.tracking.refs import parse_selector
from stratal.tracking.store.lineage import edges_at

_COLUMNS = (
    t.c.name,
    t.c.version,
    t.c.digest,
    t.c.rows,
    t.c.columns,
    t.c.content,
    t.c.profile,
    t.c.source,
    t.c.part,
    t.c.author,
    t.c.at_ns,
    t.c.status,
    t.c.schema,
    t.c.findings,
    t.c.checked_in,
    t.c.checked_ns,
    t.c.deleted_by,
    t.c.deleted_ns,
    t.c.purged_ns,
)
_OF_NAME = select(*_COLUMNS).where(t.c.name == bindparam("of_name")).order_by(t.c.version)
_ONE = select(*_COLUMNS).where(t.c.name == bindparam("of_name"), t.c.version == bindparam("of_version"))
_BY_DIGEST = select(*_COLUMNS).where(t.c.name == bindparam("of_name"), t.c.digest == bindparam("of_digest"))
_NAMES = select(t.c.name).distinct().order_by(t.c.name)
_NEXT = select(func.coalesce(func.max(t.c.version), 0) + 1).where(t.c.name == bindparam("of_name"))
# Idempotent by (name, digest): a second registration of the same content changes nothing.
_ADD = insert(t).on_conflict_do_nothing(index_elements=["name", "digest"])
_JUDGE = (
    update(t)
    .where(t.c.name == bindparam("of_name"), t.c.version == bindparam("of_version"))
    .values(
        status=bindparam("new_status"),
        schema=bindparam("new_schema"),
        findings=bindparam("new_findings"),
        checked_in=bindparam("new_run"),
        checked_ns=bindparam("at"),
    )
)

_THIS = t.c.name == bindparam("of_name"), t.c.version == bindparam("of_version")
_DELETE = update(t).where(*_THIS, t.c.deleted_ns.is_(None)).values(deleted_by=bindparam("who"), deleted_ns=bindparam("at"))
_RESTORE = update(t).where(*_THIS, t.c.purged_ns.is_(None), t.c.deleted_ns.is_not(None)).values(deleted_by=None, deleted_ns=None)
_PURGE = update(t).where(*_THIS, t.c.purged_ns.is_(None)).values(purged_ns=bindparam("at"))
# The same content came again: the version is there as it was.
_REVIVE = (
    update(t)
    .where(*_THIS)
    .values(content=bindparam("new_content"), profile=bindparam("new_profile"), deleted_by=None, deleted_ns=None, purged_ns=None)
)
_PARTS = select(t.c.name, t.c.version, t.c.part).where(t.c.name.like(bindparam("below")), t.c.part.is_not(None), t.c.purged_ns.is_(None))


class DatasetStore:
    """Dataset versions in a store. Numbers are given here, one after the other, per name."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation(needs=Role.CONTRIBUTOR, on="name")
    def add_version(
        self,
        *,
        name: str,
        digest: str,
        rows: int,
        columns: list[ColumnType],
        content: str,
        profile: str,
        source: str = "",
        part: Part | None = None,
    ) -> DatasetVersion:
        """Register a content under the next number; the same content under the same name gives the version it already is,
        and brings it back if it was deleted.

        content, profile: blobs, which the version keeps from being collected. Raises NotFound if they are not there, Refused where a
        server asks and the caller may neither read them nor has sent them.
        """
        check_dataset_name(name)
        with self._store.glance() as tx:
            for blob in (content, profile):
                check_named(tx, blob)
        for blob in (content, profile):
            self._store.blobs.size_bytes(blob)  # not by its path, which would bring it all into the cache
        with self._store.command() as tx:
            number = int(tx.value(_NEXT, of_name=name))
            added = tx.run(
                _ADD,
                name=name,
                version=number,
                digest=digest,
                rows=rows,
                columns=to_json(columns),
                content=content,
                profile=profile,
                source=source,
                part=None if part is None else to_json(part),
                author=tx.actor.name,
                at_ns=tx.now_ns,
                status="unchecked",
            )
            version = _version(_required(tx.row(_BY_DIGEST, of_name=name, of_digest=digest), name))
            if added:
                _hold(tx, version)
                tx.emit("dataset", version.ref)
            elif version.deletion is not None:
                tx.run(_REVIVE, of_name=name, of_version=version.version, new_content=content, new_profile=profile)
                version = _one(tx, name, version.version)
                _hold(tx, version)
                tx.emit("restored", version.ref)
            return version

    def plant(self, *, version: DatasetVersion) -> None:
        """Put a version of another store here as it is there, number and verdict included. Idempotent by (name, digest).

        No operation: only a store that nobody else uses may be given numbers from outside."""
        verdict = version.verdict
        with self._store.command() as tx:
            tx.run(
                _ADD,
                name=version.name,
                version=version.version,
                digest=version.digest,
                rows=version.rows,
                columns=to_json(version.columns),
                content=version.content,
                profile=version.profile,
                source=version.source,
                part=None if version.part is None else to_json(version.part),
                author=version.author,
                at_ns=version.at_ns,
                status=version.status,
                schema=None if verdict is None else verdict.schema,
                findings=None if verdict is None else to_json(verdict.findings),
                checked_in=None if verdict is None else verdict.run,
                checked_ns=None if verdict is None else verdict.at_ns,
            )

    @operation(needs=Role.CONTRIBUTOR, on="name")
    def judge(self, *, name: str, version: int, is_accepted: bool, schema: str, findings: list[Finding], run: str) -> DatasetVersion:
        """Record what a check said; the last one counts. schema: TOML; run: the run that states it. Raises NotFound."""
        status: Status = "accepted" if is_accepted else "refused"
        with self._store.command() as tx:
            tx.run(
                _JUDGE,
                of_name=name,
                of_version=version,
                new_status=status,
                new_schema=schema,
                new_findings=to_json(findings),
                new_run=run,
                at=tx.now_ns,
            )
            judged = _version(_required(tx.row(_ONE, of_name=name, of_version=version), f"{name}@{version}"))
            tx.emit("dataset", judged.ref, to_json({"status": status}))
            return judged

    @operation(needs=Role.CONTRIBUTOR, on="name")
    def delete(self, *, name: str, version: int) -> DatasetVersion:
        """Hide a version from latest, previous and refs without a selector. Idempotent. Raises NotFound."""
        with self._store.command() as tx:
            if tx.run(_DELETE, of_name=name, of_version=version, who=tx.actor.name, at=tx.now_ns):
                tx.emit("deleted", f"dataset:{name}@{version}")
            return _one(tx, name, version)

    @operation(needs=Role.CONTRIBUTOR, on="name")
    def restore(self, *, name: str, version: int) -> DatasetVersion:
        """Bring a deleted version back. Idempotent. Raises NotFound, also for one whose content was purged."""
        with self._store.command() as tx:
            if tx.run(_RESTORE, of_name=name, of_version=version):
                tx.emit("restored", f"dataset:{name}@{version}")
            return need_content(_one(tx, name, version))

    @operation(needs=Role.ADMIN, on="name")
    def purge(self, *, name: str, version: int, needed: bool = False) -> DatasetVersion:
        """Give up the content of a deleted version; its number, digest, schema and verdict stay. Idempotent.

        Raises Misuse for one that is not deleted, Refused if parts or runs need it; `needed` purges it all the same.
        """
        with self._store.command() as tx:
            found = _one(tx, name, version)
            if found.deletion is None:
                raise Misuse(f"{found.ref} is not deleted", hint="delete it first, and purge when nobody missed it")
            if not needed and (reasons := _needed_by(tx, found)):
                more = f", and {len(reasons) - 3} more" if len(reasons) > 3 else ""
                raise Refused(
                    f"{found.ref} is needed: {'; '.join(reasons[:3])}{more}",
                    hint="nothing was purged; --needed (needed=True) gives its content up all the same, and those cannot be reproduced",
                )
            if tx.run(_PURGE, of_name=name, of_version=version, at=tx.now_ns):
                drop_uses(tx, found.ref)
                tx.emit("purged", found.ref)
            return _one(tx, name, version)

    @operation(needs=Role.VIEWER, on="name")
    def versions(self, *, name: str) -> list[DatasetVersion]:
        """List all versions, the oldest first, refused ones among them. Raises NotFound, with the nearest name."""
        with self._store.query() as tx:
            found = [_version(row) for row in tx.rows(_OF_NAME, of_name=name)]
            if not found:
                raise unknown_name(name, _names(tx))
            return found

    @operation(needs=Role.VIEWER, on="name")
    def find(self, *, name: str, selector: str = "latest") -> DatasetVersion:
        """Give the version that a selector means: a number, latest, previous or sha256:... Raises NotFound."""
        return choose(name, self.versions(name=name), parse_selector(selector))

    @operation(needs=Role.VIEWER, on="name")
    def find_digest(self, *, name: str, digest: str) -> DatasetVersion | None:
        """Give the version that holds a content, None if there is none yet."""
        with self._store.query() as tx:
            row = tx.row(_BY_DIGEST, of_name=name, of_digest=digest)
            return None if row is None else _version(row)

    @operation(needs=Role.VIEWER)
    def names(self) -> list[str]:
        """List the names of all datasets."""
        with self._store.query() as tx:
            return _names(tx)


def _names(tx: Transaction) -> list[str]:
    return [str(name) for (name,) in tx.rows(_NAMES)]


def _required(row: Row | None, what: str) -> Row:
    if row is None:
        raise NotFound(f"there is no dataset version {what} in this store", hint="list them with `stratal data versions NAME`")
    return row


def _one(tx: Transaction, name: str, version: int) -> DatasetVersion:
    return _version(_required(tx.row(_ONE, of_name=name, of_version=version), f"{name}@{version}"))


def _hold(tx: Transaction, version: DatasetVersion) -> None:
    blob_use(tx, version.content, version.ref)
    blob_use(tx, version.profile, version.ref)


def _needed_by(tx: Transaction, version: DatasetVersion) -> list[str]:
    """Say what would lose its ground: parts whose parent this is, and runs that used it."""
    below = f"{version.name}/%"
    parts = [f"{name}@{number}" for name, number, part in tx.rows(_PARTS, below=below) if from_json(part, Part).parent == version.ref]
    users = [f"run:{short(edge.run)}" for edge in edges_at(tx, version.ref) if edge.verb == "used"]
    return [f"dataset:{part} is a part of it" for part in parts] + [f"{user} used it" for user in dict.fromkeys(users)]


def _version(row: Sequence[object]) -> DatasetVersion:
    name, number, digest, rows, columns, content, profile, source, part, author, at_ns, status, schema, findings, run, checked_ns = row[:16]
    deleted_by, deleted_ns, purged_ns = row[16:]
    verdict = None
    if checked_ns is not None:
        verdict = Verdict(
            schema=str(schema), findings=tuple(from_json(str(findings), list[Finding])), run=str(run), at_ns=int(str(checked_ns))
        )
    return DatasetVersion(
        name=str(name),
        version=int(str(number)),
        digest=str(digest),
        rows=int(str(rows)),
        columns=tuple(from_json(str(columns), list[ColumnType])),
        content=str(content),
        profile=str(profile),
        source=str(source),
        part=None if part is None else from_json(str(part), Part),
        author=str(author),
        at_ns=int(str(at_ns)),
        status=_STATUSES[str(status)],
        verdict=verdict,
        deletion=None
        if deleted_ns is None
        else Deletion(by=str(deleted_by), at_ns=int(str(deleted_ns)), purged_ns=None if purged_ns is None else int(str(purged_ns))),
    )


_STATUSES: dict[str, Status] = {"unchecked": "unchecked", "accepted": "accepted", "refused": "refused"}
