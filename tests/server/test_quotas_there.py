"""Quotas at a server: what is refused to whom, what waits where, and that a run that goes on loses nothing. Excludes counting."""

import pytest
from sqlalchemy import select

from stratal.core.errors import NotFound, StoreDown
from stratal.core.ids import new_id
from stratal.core.settings import Settings
from stratal.store.calling import Server
from stratal.store.held import HeldFiles
from stratal.store.quotas.rules import UNLIMITED, OverQuota
from stratal.store.shipping import Shipper
from stratal.store.tables import event
from stratal.tracking.collecting import gc
from stratal.tracking.deleting import delete, purge
from stratal.tracking.facts import Start
from stratal.tracking.finding import find_runs
from stratal.tracking.forking import fork
from stratal.tracking.leased import start_leased
from stratal.tracking.opening import open_store
from stratal.tracking.operations.leasing import RunLeases
from stratal.tracking.quotas import quotas, recount_quotas, set_quota
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run
from stratal.tracking.syncing import sync

LARGE = b"a" * 40_000  # more than what is sent unasked


def used(store, experiment: str = "churn"):
    return next(each for each in quotas(store=store).used if each.experiment == experiment)


def series(store, id: str) -> list[float]:
    return get_run(f"run:{id}", store=store).series("loss").values.tolist()


def test_a_new_run_without_room_is_refused_whole_and_comes_when_there_is(store, far):
    set_quota("churn", most_runs=1, store=store)
    with run("churn", store=far) as first:
        first.log({"loss": 1.0}, step=0)
    assert sync(store=far).refused == []
    with run("churn", store=far) as second:
        second.log({"loss": 2.0}, step=0)
        second.save_bytes("a.bin", b"a")
    [why] = sync(store=far).refused
    assert "experiment:churn has no room for another run: it holds 1, and its quota is 1" in why
    assert [found.id for found in find_runs(experiment="churn", store=store)] == [first.id]
    set_quota("churn", most_runs=2, store=store)
    assert sync(store=far).refused == []
    assert series(store, second.id) == [2.0] and get_run(second.ref, store=store).read_artifact("a.bin") == b"a"


def test_a_run_that_goes_on_beyond_every_limit_loses_no_point_param_or_fact(store, far):
    with run("churn", store=far) as going_on:
        going_on.log({"loss": 1.0}, step=0)
        assert sync(store=far).refused == []
        set_quota("churn", most_runs=0, most_bytes=0, store=store)
        going_on.log({"loss": 0.5}, step=1)
        going_on.log_params({"lr": 0.1})
        going_on.set_tags({"a": "b"})
        going_on.note("looks fine")
        assert sync(store=far).refused == []
    assert sync(store=far).refused == []
    read = get_run(going_on.ref, store=store)
    assert (series(store, going_on.id), read.params, read.tags, read.notes[0].text, read.status) == (
        [1.0, 0.5], {"lr": 0.1}, {"a": "b"}, "looks fine", "finished",
    )  # fmt: skip


@pytest.mark.parametrize("content", [LARGE, b"few bytes"], ids=["large", "small"])
def test_a_file_without_room_waits_at_home_while_its_run_goes_on_and_comes_when_there_is(store, far, content):
    set_quota("churn", most_bytes=5, store=store)
    with run("churn", store=far) as one:
        one.save_bytes("model.bin", content)
        one.log({"loss": 1.0}, step=0)
    [why] = sync(store=far).refused
    assert f"of run:{one.short} waits here" in why and "its quota is 5 bytes" in why
    assert series(store, one.id) == [1.0] and get_run(one.ref, store=store).status == "finished"
    with pytest.raises(NotFound):
        get_run(one.ref, store=store).read_artifact("model.bin")
    now = used(store)
    assert (now.size_bytes, now.waiting_files, now.waiting_bytes) == (0, 1, len(content))
    assert len(sync(store=far).refused) == 1, "it is still said, and nothing else"
    set_quota("churn", most_bytes=len(content), store=store)
    done = sync(store=far)
    assert done.refused == [] and done.blobs == 1
    assert get_run(one.ref, store=store).read_artifact("model.bin") == content
    now = used(store)
    assert (now.size_bytes, now.waiting_files) == (len(content), 0)
    assert list(HeldFiles(far.folder).all()) == []


def test_a_file_that_waits_does_not_keep_smaller_ones_out(store, far):
    set_quota("churn", most_bytes=100, store=store)
    with run("churn", store=far) as one:
        one.save_bytes("large.bin", LARGE)
        one.save_bytes("small.bin", b"b" * 90)
        one.save_bytes("more.bin", b"c" * 20)
    assert len(sync(store=far).refused) == 2
    assert get_run(one.ref, store=store).read_artifact("small.bin") == b"b" * 90 and used(store).size_bytes == 90


def test_a_file_that_waits_at_a_server_that_asks_is_only_claimed_and_counts_once_it_is_sent(guarded, store, tmp_path):
    set_quota("churn", most_bytes=5, store=store)
    far = open_store(
        guarded.url, settings=Settings(user="bob", token=guarded.token_of("bob"), capture=False, state_home=tmp_path / "state")
    )
    with run("churn", store=far) as one:
        one.save_bytes("model.bin", LARGE)
        one.save_bytes("small.bin", b"a")
    assert len(sync(store=far).refused) == 1
    assert (used(store).size_bytes, used(store).waiting_files) == (1, 1)
    set_quota("churn", most_bytes=UNLIMITED, store=store)
    assert sync(store=far).refused == []
    assert get_run(one.ref, store=store).read_artifact("model.bin") == LARGE
    assert used(store).size_bytes == len(LARGE) + 1 and recount_quotas(store=store).wrong == []
    delete(one.ref, store=store)
    purge(one.ref, store=store)
    assert recount_quotas(store=store).wrong == [] and quotas(store=store).used[0].size_bytes == 0
    far.uploader.finish()
    far.close()


class Dying(Server):
    """A sender whose process dies before the facts go."""

    def ship(self, name, offset, data, damage):
        raise StoreDown("it died")


def test_a_file_that_found_no_room_is_not_forgotten_if_the_sender_dies_before_its_facts_go(store, served_url, tmp_path):
    set_quota("churn", most_bytes=5, store=store)
    home = open_store(tmp_path / "home")
    with run("churn", store=home) as one:
        one.save_bytes("model.bin", LARGE)
    dying = Dying(served_url, "tester")
    with pytest.raises(StoreDown, match="it died"):
        Shipper(home.folder, dying, keeps=True).ship()
    dying.close()
    [held] = HeldFiles(home.folder).all()
    assert held.home == (one.id, "churn")
    assert len(sync(served_url, store=home).refused) == 1
    set_quota("churn", most_bytes=UNLIMITED, store=store)
    assert sync(store=home).refused == [] and get_run(one.ref, store=store).read_artifact("model.bin") == LARGE
    home.close()


def test_bytes_that_the_experiment_holds_already_need_no_room(store, far):
    with run("churn", store=far) as one:
        one.save_bytes("a.bin", LARGE)
    assert sync(store=far).refused == []
    set_quota("churn", most_bytes=len(LARGE), store=store)
    with run("churn", store=far) as two:
        two.save_bytes("a.bin", LARGE)
    assert sync(store=far).refused == [] and used(store).size_bytes == len(LARGE) and used(store).runs == 2


def test_commands_that_make_a_run_are_refused_at_once(store, far):
    with run("churn", store=far) as one:
        one.log({"loss": 1.0}, step=0)
    set_quota("churn", most_runs=1, store=store)
    with pytest.raises(OverQuota, match="no room for another run"):
        start_leased("churn", kind="train", store=far)
    with pytest.raises(OverQuota):
        fork(one.ref, step=1, store=far)
    with pytest.raises(OverQuota):
        RunLeases(far).start_leased(experiment="churn", start=Start(experiment="churn", user=""), ttl_s=5.0)
    assert used(store).runs == 1
    start_leased("other", kind="train", store=far).finish()
    start_leased("churn", kind="train", store=store).finish()  # here, nothing is refused


def test_many_files_that_are_sent_at_once_do_not_all_find_the_same_room(team, store):
    set_quota("churn", most_bytes=100, store=store)
    team.http.headers.update({"stratal-run": new_id(), "stratal-experiment": "churn"})
    assert team.blob(b"a" * 60).status_code == 200
    refused = team.blob(b"b" * 60)
    assert refused.json()["error"] == "quota" and refused.status_code == 422
    assert team.blob(b"a" * 60).status_code == team.blob(b"c" * 40).status_code == 200
    gc(grace_hours=0, store=store)
    assert team.blob(b"b" * 60).status_code == 200, "no run named what came before"


def test_a_sender_that_does_not_say_whose_file_it_is_is_not_asked(team, store):
    set_quota("churn", most_bytes=5, store=store)
    assert team.blob(b"more than five bytes").status_code == 200


def test_a_file_is_refused_to_those_only_who_may_write_where_it_belongs(guarded, store, segment_of):
    set_quota("churn", most_bytes=5, store=store)
    bob, ada = guarded.having_token("bob"), guarded.having_token("ada")
    home = {"stratal-run": new_id(), "stratal-experiment": "churn"}
    bob.http.headers.update(home)
    answer = bob.blob(b"more than five bytes")
    assert (answer.status_code, answer.json()["error"]) == (422, "quota")
    bob.http.headers["stratal-experiment"] = "salaries"
    assert bob.blob(b"more than five bytes").status_code == 403
    bob.http.headers["stratal-run"] = "no run"
    assert bob.blob(b"more than five bytes").status_code == 422
    segment = segment_of("churn")
    assert ada.put(segment.name, 0, segment.data).status_code == 200
    bob.http.headers.update({"stratal-run": segment.id, "stratal-experiment": "elsewhere"})
    assert bob.blob(b"more than five bytes").json()["error"] == "quota", "where a run is, the server knows"


def test_what_is_refused_over_the_wire_of_mlflow_says_so_and_is_not_repeated(wire, store):
    experiment = wire.experiment("churn")
    id = wire.run(experiment)
    place = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{id}/artifacts"
    set_quota("churn", most_runs=1, most_bytes=1000, store=store)
    assert wire.refused("runs/create", experiment_id=experiment) == (403, "QUOTA_EXCEEDED")
    assert wire.http.put(f"{place}/a.bin", content=b"a" * 600).status_code == 200
    refused = wire.http.put(f"{place}/b.bin", content=b"b" * 600)
    assert (refused.status_code, refused.json()["error_code"]) == (403, "QUOTA_EXCEEDED")
    assert "stratal quota set" in refused.json()["message"]
    assert wire.http.put(f"{place}/b.bin", content=iter([b"b" * 600])).status_code == 403, "a body of unknown size, too"
    posted = wire.http.post("/ajax-api/2.0/mlflow/upload-artifact", params={"run_uuid": id, "path": "b.bin"}, content=b"b" * 600)
    assert posted.status_code == 403, "as MLflow's pages send one, too"
    assert wire.http.put(f"{place}/again.bin", content=b"a" * 600).status_code == 200
    wire.ok("runs/log-metric", run_id=id, key="auc", value=0.5, timestamp=1000, step=3)
    wire.ok("runs/update", run_id=id, status="FINISHED")
    assert (used(store).size_bytes, used(store).runs) == (600, 1)
    wire.http.delete(f"{place}/a.bin")
    wire.http.delete(f"{place}/again.bin")
    assert used(store).size_bytes == 0
    assert wire.http.put(f"{place}/b.bin", content=b"b" * 600).status_code == 200


def test_a_renamed_experiment_takes_its_quota_along(wire, store):
    experiment = wire.experiment("churn")
    wire.run(experiment)
    set_quota("churn", most_runs=1, store=store)
    wire.ok("experiments/update", experiment_id=experiment, new_name="new")
    assert wire.refused("runs/create", experiment_id=experiment) == (403, "QUOTA_EXCEEDED")


def test_quotas_are_set_by_admins_of_everything_and_seen_by_who_may_view(guarded, store):
    guarded.accounts.grant(person="bob", role="admin", on="experiment:churn")
    for name in ("churn", "salaries"):
        with run(name, store=store):
            pass
    people = {name: guarded.having_token(name).http for name in ("ada", "bob", "vera", "eve")}
    said = {"experiment": "churn", "most_runs": 5}
    status = {name: http.post("/api/v1/tracking/set_quota", json=said).status_code for name, http in people.items()}
    assert status == {"ada": 200, "bob": 403, "vera": 403, "eve": 403}
    shown = {
        name: [one["experiment"] for one in http.post("/api/v1/tracking/quotas", json={}).json()["used"]] for name, http in people.items()
    }
    assert shown == {"ada": ["churn", "salaries"], "bob": ["churn"], "vera": ["churn"], "eve": []}


def test_who_set_a_quota_is_told(store, far):
    set_quota("churn", most_runs=5, store=far)
    with store.query() as tx:
        assert tx.rows(select(event.c.subject, event.c.actor).where(event.c.kind == "quota set")) == [("experiment:churn", "tester")]
