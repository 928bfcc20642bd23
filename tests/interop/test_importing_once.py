"""The frame of all importers: applied once whatever dies, grown sources go on, rewritten ones are refused, losses are counted.
Excludes the formats, which have files of their own."""

import shutil
import signal
from pathlib import Path

import pytest
from foreign_files import event, event_file, field, frame, held, neptune_part, scalar

from stratal.core.errors import Conflict, Misuse, NotFound
from stratal.core.ids import short
from stratal.interop import framing
from stratal.interop.applying import apply_source
from stratal.interop.bounds import artifact_path, read_json, safe_file
from stratal.interop.importing import Options, import_runs
from stratal.interop.tensorboard.finding import find
from stratal.tracking.deleting import delete, purge
from stratal.tracking.finding import find_runs
from stratal.tracking.reproducing.reproduce import reproduce
from stratal.tracking.runs import run as start_run


def losses(n: int) -> list[bytes]:
    return [event(1_700_000_000 + step, step, scalar("loss", 1 / (step + 1)), scalar("acc", step)) for step in range(n)]


def test_importing_twice_adds_nothing(fixtures: Path, store):
    first = import_runs("tensorboard", fixtures / "tensorboardx-2.6.5/tiny", store=store)
    before = held(store)
    again = import_runs("tensorboard", fixtures / "tensorboardx-2.6.5/tiny", store=store)
    assert held(store) == before
    assert first.is_complete and again.is_complete
    assert (first.unchanged, again.unchanged) == (0, 2)
    assert first.counts["points"].imported == again.counts["points"].already == 10
    assert [run.id for run in first.runs] == [run.id for run in again.runs]
    assert [run.is_new for run in again.runs] == [False, False]


def test_a_folder_that_was_moved_is_met_again(fixtures: Path, store, tmp_path: Path):
    import_runs("tensorboard", fixtures / "tensorboardx-2.6.5/tiny", store=store)
    before = held(store)
    shutil.copytree(fixtures / "tensorboardx-2.6.5/tiny", tmp_path / "elsewhere/tiny")
    assert import_runs("tensorboard", tmp_path / "elsewhere/tiny", store=store).unchanged == 2
    assert held(store) == before


def test_a_grown_source_adds_only_what_is_new(store, fresh_store, tmp_path: Path):
    path = event_file(tmp_path / "logs/events.out.tfevents.1.host", *losses(5))
    import_runs("tensorboard", tmp_path / "logs", store=store)
    event_file(path, *losses(9))
    grown = import_runs("tensorboard", tmp_path / "logs", store=store)
    assert (grown.counts["points"].already, grown.counts["points"].imported) == (10, 8)
    whole = fresh_store()
    import_runs("tensorboard", tmp_path / "logs", store=whole)
    assert held(store) == held(whole)


def test_a_rewritten_source_is_refused_and_nothing_of_it_is_added(store, tmp_path: Path):
    path = event_file(tmp_path / "logs/events.out.tfevents.1.host", *losses(5))
    import_runs("tensorboard", tmp_path / "logs", store=store)
    before = held(store)
    event_file(path, *losses(3), *losses(9))
    report = import_runs("tensorboard", tmp_path / "logs", store=store)
    assert not report.is_complete
    assert "rewritten" in report.losses[0] and str(path) in report.losses[0]
    event_file(path, *losses(2))
    assert "rewritten" in import_runs("tensorboard", tmp_path / "logs", store=store).losses[0]
    assert held(store) == before


def test_two_imports_of_one_source_cannot_double_it(store, tmp_path: Path):
    event_file(tmp_path / "logs/events.out.tfevents.1.host", *losses(5))
    slow, quick = (find(tmp_path / "logs", Options()).sources[0] for _ in range(2))
    read = slow.read

    def read_after_another_import(after):
        apply_source(store, quick, lambda *_: None)
        yield from read(after)

    slow.read = read_after_another_import
    with pytest.raises(Conflict, match="under way"):
        apply_source(store, slow, lambda *_: None)
    assert {s.name: s.points for s in find_runs(store=store)[0].summaries} == {"acc": 5, "loss": 5}


def histories(tool: str, fixtures: Path, tmp_path: Path) -> Path:
    """A history of two runs or processes, of which imports take several transactions."""
    if tool == "tensorboard":
        shutil.copytree(fixtures / "tensorboardx-2.6.5/tiny", tmp_path / "tiny")
        event_file(tmp_path / "tiny/more/events.out.tfevents.1.host", *losses(8))
        return tmp_path / "tiny"
    if tool == "wandb":
        return fixtures / "wandb-0.31.0-resumed"
    for part in (0, 1):
        neptune_part(tmp_path, part, [("m", "float_series", n / 3, part * 10 + n, n) for n in range(8)])
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(("tool", "every", "most_values"), [("tensorboard", 1, 6), ("wandb", 4, 5), ("neptune", 2, 3)])
def test_an_import_killed_at_any_point_goes_on_and_loses_and_doubles_nothing(
    importers, store, fresh_store, fixtures: Path, tmp_path: Path, tool: str, every: int, most_values: int
):
    """With `every` named point of the write protocol; the second import is one without a kill."""
    path = histories(tool, fixtures, tmp_path / "there")
    import_runs(tool, path, store=store)
    whole, killed = held(store), 0
    for point in range(1, 400, every):
        survivor = fresh_store()
        victim = importers.start("import_victims:import_until_killed", survivor.url, tool, str(path), point, most_values)
        if victim.wait() != -signal.SIGKILL:
            break
        killed += 1
        import_runs(tool, path, store=survivor)
        assert held(survivor) == whole
        survivor.close()
    assert killed > 10, "the protocol has more points than that"


def test_two_processes_that_import_one_history_at_a_time_lose_and_double_nothing(
    importers, store, fresh_store, fixtures: Path, tmp_path: Path
):
    path = histories("wandb", fixtures, tmp_path / "there")
    import_runs("wandb", path, store=store)
    shared = fresh_store()
    racers = [importers.start("import_victims:import_until_killed", shared.url, "wandb", str(path), 0, 3) for _ in range(2)]
    assert [racer.wait() for racer in racers] == [0, 0]
    import_runs("wandb", path, store=shared)
    assert held(shared) == held(store)


def test_batches_make_no_difference(store, fresh_store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    event_file(tmp_path / "logs/events.out.tfevents.1.host", *losses(40))
    import_runs("tensorboard", tmp_path / "logs", store=store)
    monkeypatch.setattr(framing, "MOST_VALUES", 3)
    other = fresh_store()
    import_runs("tensorboard", tmp_path / "logs", store=other)
    assert held(other) == held(store)


def test_more_sets_of_names_than_are_kept_are_logged_name_by_name(store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(framing, "MOST_SHAPES", 2)
    events = [event(1_700_000_000 + n, n, scalar(f"m{n % 7}", n)) for n in range(21)]
    event_file(tmp_path / "logs/events.out.tfevents.1.host", *events)
    import_runs("tensorboard", tmp_path / "logs", store=store)
    assert find_runs(store=store)[0].series("m6").values.tolist() == [6, 13, 20]


def test_what_cannot_be_held_is_counted_and_takes_nothing_else_with_it(store, tmp_path: Path):
    bad = [scalar("", 1.0), scalar("x" * 600, 1.0), scalar("good", 2.0), scalar("line\nbreak", 1.0), scalar("nul\0", 1.0)]
    event_file(
        tmp_path / "logs/events.out.tfevents.1.host", event(1_700_000_000, 0, *bad), event(1_700_000_000, -(2**63), scalar("low", 1.0))
    )
    report = import_runs("tensorboard", tmp_path / "logs", store=store)
    points = report.counts["points"]
    assert points.imported == 1 and sum(points.lost.values()) == 5
    assert not report.is_complete
    assert find_runs(store=store)[0].metrics == {"good": 2.0}


def test_an_imported_run_can_be_resumed(store, tmp_path: Path):
    path = event_file(tmp_path / "logs/events.out.tfevents.1.host", *losses(3))
    imported = import_runs("tensorboard", tmp_path / "logs", store=store).runs[0]
    with start_run(resume=imported.id, store=store) as again:
        again.log({"loss": 9.0}, step=3)
    event_file(path, *losses(3), event(1_700_000_099, 10, scalar("loss", 0.5)))
    import_runs("tensorboard", tmp_path / "logs", store=store)
    assert find_runs(store=store)[0].series("loss").steps.tolist() == [0, 1, 2, 3, 10]


def test_a_deleted_run_stays_hidden_and_the_report_says_so(store, tmp_path: Path):
    path = event_file(tmp_path / "logs/events.out.tfevents.1.host", *losses(5))
    (made,) = import_runs("tensorboard", tmp_path / "logs", store=store).runs
    delete(made.id, store=store)
    event_file(path, *losses(9))

    report = import_runs("tensorboard", tmp_path / "logs", store=store)

    assert report.is_complete and report.counts["points"].imported == 8
    assert report.remarks == [f"deleted, there or here, and so hidden: {short(made.id)}; stratal restore RUN brings one back"]
    assert len(find_runs(store=store)) == 0


def test_an_imported_run_cannot_be_reproduced_and_the_error_says_why(store, tmp_path: Path):
    event_file(tmp_path / "logs/events.out.tfevents.1.host", *losses(5))
    (made,) = import_runs("tensorboard", tmp_path / "logs", store=store).runs
    with pytest.raises(Misuse, match="imported from tensorboard"):
        reproduce(made.id, store=store)


def test_a_purged_run_stays_away(store, tmp_path: Path):
    path = event_file(tmp_path / "logs/events.out.tfevents.1.host", *losses(3))
    id = import_runs("tensorboard", tmp_path / "logs", store=store).runs[0].id
    delete(f"run:{id}", store=store)
    purge(f"run:{id}", store=store)
    event_file(path, *losses(5))
    report = import_runs("tensorboard", tmp_path / "logs", store=store)
    assert not report.runs and "purged" in report.remarks[0]
    assert not find_runs(store=store)


def test_wrong_calls_say_what_to_do(store, tmp_path: Path):
    with pytest.raises(Misuse, match="cannot be imported"):
        import_runs("sacred", tmp_path, store=store)
    with pytest.raises(NotFound, match="nothing at"):
        import_runs("tensorboard", tmp_path / "nowhere", store=store)
    with pytest.raises(NotFound, match="holds nothing"):
        import_runs("tensorboard", tmp_path, store=store)


def test_an_experiment_of_ones_own_takes_all_runs(fixtures: Path, store):
    import_runs("tensorboard", fixtures / "tensorboardx-2.6.5/tiny", experiment="history", store=store)
    assert {run.experiment for run in find_runs(store=store)} == {"history"}


def test_paths_stay_inside_their_folder(tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_text("a")
    (tmp_path / "secret").write_text("s")
    (tmp_path / "in/link").symlink_to(tmp_path / "secret")
    (tmp_path / "in/folder").symlink_to(tmp_path)
    assert safe_file(tmp_path / "in", "a.txt") == tmp_path / "in/a.txt"
    for path in ("../secret", str(tmp_path / "secret"), "link", "folder/secret", "", "nothing", "a\0", "x/../../secret"):
        assert safe_file(tmp_path / "in", path) is None


def test_names_become_paths_that_can_be_told_apart():
    assert artifact_path("images", "a/b", ".png") == "images/a/b.png"
    odd = {artifact_path("images", name, ".png") for name in ("../a", "a/../a", "/a", "a//b", "", "a\\b", "a\n", "x" * 2000)}
    assert len(odd) == 8
    assert all(path.startswith("images/") and ".." not in path and len(path) < 1000 for path in odd)


@pytest.mark.parametrize("bomb", [b"[" * 100_000, b'{"a":' * 5000 + b"1" + b"}" * 5000, b"{", b"\xff", b'"\\u12"'])
def test_json_that_is_none_or_too_deep_is_refused(bomb: bytes):
    from stratal.core.errors import Damaged

    with pytest.raises(Damaged):
        read_json(bomb)


def test_json_of_tools_is_read_with_its_odd_numbers():
    assert read_json(b'["[[[[", NaN, -Infinity, {"a": [1]}]')[2:] == [float("-inf"), {"a": [1]}]


def test_a_source_that_cannot_be_read_does_not_stop_the_others(store, tmp_path: Path):
    event_file(tmp_path / "logs/a/events.out.tfevents.1.host", *losses(2))
    event_file(tmp_path / "logs/b/events.out.tfevents.1.host", *losses(2), started_s=1.6e9)
    sources = find(tmp_path / "logs", Options()).sources
    (tmp_path / "logs/a/events.out.tfevents.1.host").unlink()
    from stratal.interop.importing import _apply_all

    applied = _apply_all(store, sources, lambda *_: None)
    assert [len(one.remarks) for one in applied] == [1, 0]
    assert applied[0].remarks[0].is_loss


def test_a_frame_of_garbage_is_no_event_and_counts_as_lost(store, tmp_path: Path):
    path = event_file(tmp_path / "logs/events.out.tfevents.1.host", *losses(2))
    path.write_bytes(path.read_bytes() + frame(b"\xff\xff\xff") + frame(field(5, field(1, b"\x07"))) + frame(losses(4)[3]))
    report = import_runs("tensorboard", tmp_path / "logs", store=store)
    assert sum(report.counts["events"].lost.values()) == 2
    assert find_runs(store=store)[0].series("loss").steps.tolist() == [0, 1, 3]
