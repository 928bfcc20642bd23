"""Registered models of MLflow in the registry: versions, stages, aliases; once, ungoverned, and never against what people did here."""

import gzip
import re
import sqlite3
import tarfile
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from stratal.core.errors import Conflict, Misuse
from stratal.core.records import from_json
from stratal.interop.importing import import_runs
from stratal.interop.mlflow.service.store import registered as rows
from stratal.interop.operations import MOST_BEYOND, MOST_VERSION, ImportedModels
from stratal.interop.registering import clean_name
from stratal.registry import (
    ModelStore,
    Stage,
    approvals,
    archive,
    history,
    list_models,
    list_versions,
    policy,
    register,
    set_policy,
    verify_audit,
)
from stratal.registry.names import check_alias, check_model_name
from stratal.store.store import Store
from stratal.tracking.finding import find_runs
from stratal.tracking.flavors.manifest import Manifest, ModelFile, decode_manifest
from stratal.tracking.opening import use_store
from stratal.tracking.resolving import get
from stratal.tracking.runs import run as start_run
from stratal.tracking.serving import load
from stratal.tracking.values import Model

FILES = Path(__file__).parent / "mlflow_files"


def unpacked(tmp_path: Path, name: str) -> Path:
    with tarfile.open(FILES / f"{name}.tar.gz") as archive:
        archive.extractall(tmp_path / name, filter="data")
    return tmp_path / name


def standings(store: Store, name: str = "churn-model") -> dict[int, str]:
    return {number: str(standing.stage) for number, standing in ModelStore(store).standings(name=name).items()}


@pytest.mark.parametrize("name", ["mlruns-2.9.2", "sql-2.9.2"])
def test_versions_stages_and_aliases_arrive_in_order(store: Store, tmp_path: Path, name: str) -> None:
    report = import_runs("mlflow", unpacked(tmp_path, name), store=store)

    assert standings(store) == {1: "Archived", 3: "Production"}
    assert ModelStore(store).aliases(name="churn-model") == {"champion": 3}
    assert ModelStore(store).policy(name="churn-model") is None
    assert report.counts["model versions"].imported == 2 and report.counts["model versions"].left_out == {"deleted there": 1}
    assert report.is_complete and not verify_audit(store=store).findings
    moved = [entry for entry in history("churn-model", store=store) if entry.moves and entry.moves[0].source]
    assert len(moved) == 2 and all("imported from mlflow" in entry.body for entry in moved)


def register_ours(store: Store, name: str, data: bytes) -> int:
    """Register a model of ours; gives its number."""
    manifest = Manifest(flavor="sklearn", files=(ModelFile(path="weights.bin", digest=sha256(data).hexdigest(), size_bytes=len(data)),))
    with start_run("e", store=store) as made:
        made.save_bytes("model/weights.bin", data)
        made.save_bytes("model/manifest.json", manifest.encode())
    return register(name, Model(run=made.id, path="model", digest=manifest.digest, flavor="sklearn"), store=store).number


@pytest.mark.parametrize("deleted", ["version-2", "version-3"])
def test_the_next_version_has_a_number_that_none_had_there(store: Store, tmp_path: Path, deleted: str) -> None:
    folder = unpacked(tmp_path, "mlruns-2.9.2")
    meta = folder / f"mlruns/models/churn-model/{deleted}/meta.yaml"
    meta.write_text(re.sub("current_stage: .*", "current_stage: Deleted_Internal", meta.read_text()))
    import_runs("mlflow", folder, store=store)
    assert register_ours(store, "churn-model", b"new") == 4
    [summary] = list_models(store=store)
    assert summary.versions == len(standings(store)), "deleted ones do not count"
    assert list_versions("churn-model", store=store)[0].number == 4


def test_a_model_whose_versions_were_all_deleted_goes_on_behind_them(store: Store, tmp_path: Path) -> None:
    folder = unpacked(tmp_path, "mlruns-2.9.2")
    for meta in folder.glob("mlruns/models/churn-model/version-*/meta.yaml"):
        meta.write_text(re.sub("current_stage: .*", "current_stage: Deleted_Internal", meta.read_text()))
    assert import_runs("mlflow", folder, store=store).is_complete
    assert standings(store) == {} and register_ours(store, "churn-model", b"new") == 4


def test_a_number_that_is_taken_here_is_replaced_by_one_with_an_alias(store: Store, tmp_path: Path) -> None:
    assert register_ours(store, "churn-model", b"ours") == 1
    report = import_runs("mlflow", unpacked(tmp_path, "mlruns-2.9.2"), store=store)
    assert standings(store).keys() == {1, 3, 4}
    assert ModelStore(store).aliases(name="churn-model") == {"champion": 3, "mlflow-1": 4}
    assert "churn-model version 1 is model:churn-model@4 here: its alias is mlflow-1" in report.remarks


def test_a_version_whose_files_come_later_has_its_number_too(store: Store, tmp_path: Path) -> None:
    folder = unpacked(tmp_path, "mlruns-2.9.2")
    (version := folder / "mlruns/models/churn-model/version-1").rename(tmp_path / "away")
    import_runs("mlflow", folder, store=store)
    assert standings(store).keys() == {3}
    (tmp_path / "away").rename(version)
    import_runs("mlflow", folder, store=store)
    assert standings(store).keys() == {1, 3} and not verify_audit(store=store).findings


def test_numbers_that_leave_no_room_are_refused(store: Store) -> None:
    for odd in ({"number": 0}, {"number": MOST_VERSION + 1}, {"last": -1}, {"last": 2**31}):
        with pytest.raises(Misuse):
            ImportedModels(store).register_imported(name="x", digest="0" * 64, origin="0" * 32, path="m", **odd)


def test_an_import_uses_up_no_numbers_of_a_model_that_has_versions(store: Store) -> None:
    def imported(data: bytes, number: int) -> int:
        manifest = Manifest(flavor="sklearn", files=(ModelFile(path="w", digest=sha256(data).hexdigest(), size_bytes=len(data)),))
        store.blobs.put(data), store.blobs.put(manifest.encode())
        done = ImportedModels(store).register_imported(
            name=name, digest=manifest.digest, origin="0" * 32, path="m", number=number, last=MOST_VERSION
        )
        return done.version.number

    name = "new"
    assert [imported(b"a", 70_000), imported(b"b", 900_000), imported(b"c", 70_000)] == [70_000, 900_000, MOST_VERSION + 1]
    name = "there"
    assert register_ours(store, name, b"ours") == 1
    assert imported(b"d", 1 + MOST_BEYOND) == 1 + MOST_BEYOND
    assert imported(b"e", MOST_VERSION) == 2 + 2 * MOST_BEYOND
    for _ in range(3):
        assert imported(b"e", MOST_VERSION) == 2 + 2 * MOST_BEYOND
    assert register_ours(store, name, b"mine") == 3 + 3 * MOST_BEYOND, "asking again and again reserves no more"


def test_a_version_leads_to_its_run_and_holds_the_bytes_of_its_files(store: Store, tmp_path: Path) -> None:
    import_runs("mlflow", unpacked(tmp_path, "mlruns-2.9.2"), store=store)

    version = list_versions("churn-model", store=store)[0]
    (old,) = find_runs("name = 'old'", store=store)
    manifest = decode_manifest(store.blobs.read(version.digest))
    assert (version.run, version.path, version.flavor) == (old.id, "model", "mlflow")
    assert [(edge.verb, edge.target) for edge in old.edges] == [("produced", "model:churn-model@1"), ("produced", "model:churn-model@3")]
    assert [file.path for file in manifest.files] == ["MLmodel"]
    assert store.blobs.read(manifest.files[0].digest) == old.read_artifact("model/MLmodel")


def test_what_has_no_place_in_the_registry_is_kept_by_a_run(store: Store, tmp_path: Path) -> None:
    import_runs("mlflow", unpacked(tmp_path, "mlruns-2.9.2"), store=store)

    (home,) = find_runs("tags.imported.model = 'churn-model'", store=store)
    about = from_json(home.read_artifact("model.json"), dict[str, object])
    third = from_json(home.read_artifact("versions/3.json"), dict[str, object])
    assert home.tags["t"] == "1" and about["description"] == "the model" and about["aliases"] == {"champion": 3}
    assert third["description"] == "v3" and third["tags"] == {"q": "ok"} and third["stage"] == "Production"


def test_importing_models_twice_changes_nothing(store: Store, tmp_path: Path) -> None:
    folder = unpacked(tmp_path, "mlruns-2.9.2")
    import_runs("mlflow", folder, store=store)
    before = history("churn-model", store=store)

    again = import_runs("mlflow", folder, store=store)

    assert history("churn-model", store=store) == before and again.unchanged == again.sources


def test_an_import_that_was_cut_off_among_the_versions_goes_on(store: Store, fresh_store, tmp_path: Path) -> None:
    folder = unpacked(tmp_path, "mlruns-2.9.2")
    import_runs("mlflow", folder, store=store)
    done = 0
    for after in range(1, 40):
        survivor, passed = fresh_store(), [0]

        def dies(point: str, passed: list[int] = passed, after: int = after) -> None:
            passed[0] += point == "before commit"
            if passed[0] == after + 12:  # the runs come first
                raise KeyboardInterrupt

        fine, survivor.database.fault = survivor.database.fault, dies
        try:
            import_runs("mlflow", folder, store=survivor)
            done = after
        except KeyboardInterrupt:
            pass
        survivor.database.fault = fine
        import_runs("mlflow", folder, store=survivor)
        assert standings(survivor) == standings(store)
        assert ModelStore(survivor).aliases(name="churn-model") == {"champion": 3}
        assert not verify_audit(store=survivor).findings
        if done:
            break
    assert done > 3


def test_what_people_moved_here_is_not_moved_back(store: Store, tmp_path: Path) -> None:
    folder = unpacked(tmp_path, "mlruns-2.9.2")
    import_runs("mlflow", folder, store=store)
    archive("model:churn-model@3", reason="it was bad", store=store)
    ModelStore(store).set_alias(name="churn-model", alias="champion", number=1, is_foreign=True)
    (folder / "mlruns/models/churn-model/tags/new").write_text("tag")

    report = import_runs("mlflow", folder, store=store)

    assert standings(store) == {1: "Archived", 3: "Archived"}
    assert ModelStore(store).aliases(name="churn-model")["champion"] == 1
    assert any("stays at version 1" in remark and "there it is at 3" in remark for remark in report.remarks)
    assert any("churn-model@3 stays in Archived" in remark and "there it is in Production" in remark for remark in report.remarks)


def test_what_was_moved_there_follows_as_long_as_nobody_moved_it_here(store: Store, tmp_path: Path) -> None:
    folder = unpacked(tmp_path, "mlruns-2.9.2")
    model = folder / "mlruns/models/churn-model"
    (model / "aliases/rival").write_text("1")
    (model / "aliases/ours").write_text("1")
    import_runs("mlflow", folder, store=store)
    ModelStore(store).set_alias(name="churn-model", alias="ours", number=3)
    (model / "aliases/champion").write_text("1")
    (model / "aliases/rival").unlink()
    (model / "aliases/ours").unlink()
    for number, stage in ((1, "Production"), (3, "Archived")):
        meta = model / f"version-{number}/meta.yaml"
        meta.write_text(re.sub("current_stage: .*", f"current_stage: {stage}", meta.read_text()))

    report = import_runs("mlflow", folder, store=store)

    assert standings(store) == {1: "Production", 3: "Archived"}
    assert ModelStore(store).aliases(name="churn-model") == {"champion": 1, "ours": 3}
    assert report.counts["stages"].imported == 2 and report.counts["aliases"].imported == 1 and report.is_complete
    assert any("'rival'" in remark and "taken away" in remark for remark in report.remarks)


def said_of(store: Store, *numbers: int) -> dict[int, tuple[str, dict[str, str]]]:
    """Give description and tags, as clients see them, of versions of the model (0: of itself); but for whose import it was."""
    with store.query() as tx:
        texts = {row.number: row.description for row in rows.versions_of(tx, "churn-model")} | {
            0: rows.head_of(tx, "churn-model").description
        }
        tags = rows.words(tx, ["churn-model"], numbers).tags
    seen = {number: tags.get(("churn-model", number), {}) for number in numbers}
    return {number: (texts[number], {key: value for key, value in seen[number].items() if key != rows.STATED_BY}) for number in numbers}


def described(path: Path, description: str) -> None:
    path.write_text(re.sub("(?m)^description: .*", f"description: {description}", path.read_text()))


def test_what_was_said_there_follows_as_long_as_nobody_has_said_otherwise_here(store: Store, tmp_path: Path) -> None:
    folder = unpacked(tmp_path, "mlruns-2.9.2")
    model = folder / "mlruns/models/churn-model"
    (model / "tags/gone").write_text("1")
    (model / "tags/kept").write_text("1")
    import_runs("mlflow", folder, store=store)
    assert said_of(store, 0, 3) == {0: ("the model", {"t": "1", "gone": "1", "kept": "1"}), 3: ("v3", {"q": "ok"})}
    with store.command() as tx:
        rows.set_tag(tx, "churn-model", 0, "kept", "ours")
        rows.set_tag(tx, "churn-model", 3, "q", "ours")
    described(model / "meta.yaml", "the better model")
    described(model / "version-3/meta.yaml", "the third")
    (model / "tags/t").write_text("2")
    (model / "tags/gone").unlink()
    (model / "tags/kept").unlink()
    (model / "version-3/tags/q").write_text("bad")
    (model / "version-3/tags/new").write_text("n")

    report = import_runs("mlflow", folder, store=store)

    follows = {0: ("the better model", {"t": "2", "kept": "ours"}), 3: ("the third", {"q": "ours", "new": "n"})}
    assert said_of(store, 0, 3) == follows and report.is_complete
    stays = [remark for remark in report.remarks if "stays" in remark]
    assert len(stays) == 2 and "'kept' of model:churn-model stays" in stays[0] and "'q' of model:churn-model@3 stays" in stays[1]

    with store.command() as tx:
        rows.say_of_version(tx, "churn-model", 3, description="ours")
    described(model / "version-3/meta.yaml", "the third and last")
    report = import_runs("mlflow", folder, store=store)
    assert said_of(store, 3)[3][0] == "ours" and any("the description of model:churn-model@3 stays" in each for each in report.remarks)


def test_what_an_import_that_was_cut_off_has_told_is_nobody_elses_word(store: Store, tmp_path: Path) -> None:
    folder = unpacked(tmp_path, "mlruns-2.9.2")
    import_runs("mlflow", folder, store=store)
    described(folder / "mlruns/models/churn-model/meta.yaml", "the better model")
    with store.command() as tx:  # as it is between telling it and keeping the record
        rows.show(tx, rows.head_of(tx, "churn-model"), name="churn-model", description="the better model")

    report = import_runs("mlflow", folder, store=store)

    assert said_of(store, 0)[0][0] == "the better model" and not [remark for remark in report.remarks if "stays" in remark]


def test_an_alias_stays_where_nobody_knows_who_set_it(store: Store, tmp_path: Path) -> None:
    folder = unpacked(tmp_path, "mlruns-2.9.2")
    import_runs("mlflow", folder, store=store)
    [home] = find_runs("tags.imported.model = 'churn-model'", store=store)
    with start_run(resume=home.id, store=store) as written_over:
        written_over.save_bytes("model.json", b"nonsense")
    (folder / "mlruns/models/churn-model/aliases/champion").write_text("1")

    report = import_runs("mlflow", folder, store=store)

    assert report.is_complete and ModelStore(store).aliases(name="churn-model") == {"champion": 3}


def test_an_alias_that_goes_there_is_none_here_if_no_version_is(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(gzip.decompress((FILES / "mlflow-3.17.2.db.gz").read_bytes()))
    first = import_runs("mlflow", path, store=store)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM registered_model_aliases")

    assert import_runs("mlflow", path, store=store).losses == first.losses


def test_a_policy_here_is_not_got_around(store: Store, tmp_path: Path) -> None:
    folder = unpacked(tmp_path, "mlruns-2.9.2")
    version = folder / "mlruns/models/churn-model/version-3/meta.yaml"
    text = version.read_text()
    version.write_text(text.replace("Production", "None"))
    import_runs("mlflow", folder, store=store)
    set_policy("churn-model", policy(production=[approvals(1, role="approver")]), store=store)
    version.write_text(text)

    report = import_runs("mlflow", folder, store=store)

    assert standings(store)[3] == "Development"
    assert sum(report.counts["stages"].lost.values()) == 1 and not report.is_complete


def test_a_version_whose_files_are_not_here_is_lost_until_they_are(store: Store, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(gzip.decompress((FILES / "mlflow-3.17.2.db.gz").read_bytes()))
    report = import_runs("mlflow", tmp_path / "mlflow.db", store=store)
    assert not report.is_complete and "churn-model version 1: its files are not here" in report.losses
    again = import_runs("mlflow", tmp_path / "mlflow.db", store=store)
    assert again.unchanged == again.sources and not again.is_complete
    with sqlite3.connect(tmp_path / "mlflow.db") as db:
        (model_id,) = db.execute("SELECT model_id FROM logged_models").fetchone()
    db.close()
    files = tmp_path / f"away/models/{model_id}/artifacts"
    files.mkdir(parents=True)
    (files / "MLmodel").write_text("flavors: {}")

    roots = {"/home/user/project/mlartifacts": tmp_path / "away"}
    later = import_runs("mlflow", tmp_path / "mlflow.db", artifact_roots=roots, store=store)

    assert later.is_complete and standings(store) == {1: "Staging"}
    assert ModelStore(store).aliases(name="churn-model") == {"champion": 1}
    (tiny,) = find_runs("name = 'tiny'", store=store)
    assert tiny.read_artifact(f"models/model-{model_id}/MLmodel") == b"flavors: {}"


def test_an_alias_that_refs_read_themselves_is_reached_as_an_alias(store: Store, tmp_path: Path) -> None:
    import_runs("mlflow", unpacked(tmp_path, "mlruns-2.9.2"), store=store)
    use_store(store)

    assert get("model:churn-model@alias:champion").digest == ModelStore(store).version(name="churn-model", number=3).digest
    with pytest.raises(Misuse, match="a word that refs read"):
        check_alias("champion")
    with pytest.raises(Misuse, match="no format 'mlflow'"):
        load("model:churn-model@3")


def test_names_that_the_registry_does_not_take_are_made_such(store: Store) -> None:
    names = ["churn", "Größe", "größe", "a//b", "", "x" * 500, "../up", "модель"]
    made = [clean_name(name) for name in names]
    assert made[0] == "churn" and len(set(made)) == len(names)
    assert all(check_model_name(name) == name for name in made)


def test_a_model_too_like_one_that_is_here_is_refused_and_the_runs_arrive(store: Store, tmp_path: Path) -> None:
    import_runs("mlflow", unpacked(tmp_path, "mlruns-2.9.2"), store=store)
    folder = unpacked(tmp_path, "sql-2.9.2")
    with sqlite3.connect(folder / "mlflow.db") as db:
        for table in ("registered_models", "model_versions", "model_version_tags", "registered_model_aliases", "registered_model_tags"):
            db.execute(f"UPDATE {table} SET name = 'churn.model'")
    db.close()

    report = import_runs("mlflow", folder, store=store)

    assert [loss for loss in report.losses if "would be mistaken" in loss] and len(report.runs) == 3
    assert Conflict.retryable and str(Stage.PRODUCTION) == "Production"
