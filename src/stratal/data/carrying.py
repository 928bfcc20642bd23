"""Bringing datasets along for a program that starts again: the versions that were there before it began, under their numbers."""

from stratal.core.errors import NotFound
from stratal.data.store import DatasetStore
from stratal.tracking.refs import parse_ref
from stratal.tracking.reproducing.carrying import Cargo


def carry_datasets(cargo: Cargo) -> list[str]:
    """Bring along all earlier versions of each dataset that was used or produced: `latest` and `previous` mean then what they meant."""
    notes = []
    source, target = DatasetStore(cargo.source), DatasetStore(cargo.target)
    for name in sorted({parse_ref(ref).name for ref in cargo.refs if ref.startswith("dataset:")}):
        try:
            versions = [version for version in source.versions(name=name) if version.at_ns < cargo.before_ns]
        except NotFound:
            notes.append(f"dataset {name}, which was used, is not in this store")
            continue
        for version in versions:
            try:
                for blob in (version.content, version.profile):
                    cargo.target.blobs.take(cargo.source.blobs, blob)
            except NotFound:
                notes.append(f"the rows of {version.ref}, which may be used, are gone")
                continue
            target.plant(version=version)
    return notes
