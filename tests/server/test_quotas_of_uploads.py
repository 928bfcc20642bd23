"""Files that come by parts, and straight to an object store, under a quota: what never finishes counts. Excludes files of one piece."""

from hashlib import sha256

import pytest
from test_mlflow_parts import Upload

from stratal.server.transfers import Transfers
from stratal.tracking.collecting import gc
from stratal.tracking.doctor import doctor
from stratal.tracking.opening import open_store
from stratal.tracking.quotas import UNLIMITED, quotas, recount_quotas, set_quota
from stratal.tracking.reading import get_run

PART = 1000


def used(store, experiment: str) -> int:
    return next((each.size_bytes for each in quotas(store=store).used if each.experiment == experiment), 0)


@pytest.fixture
def upload(wire, store):
    """Begin uploads of parts into one run; `experiment` is that run's."""

    class Begun(Upload):
        def __init__(self, *data: bytes) -> None:
            super().__init__(wire, run, f"f{len(begun)}", list(data))
            begun.append(self)

    begun: list[Upload] = []
    run = wire.run()
    Begun.experiment, Begun.run = get_run(run, store=store).experiment, run
    return Begun


def test_parts_that_lie_aside_count_and_those_beyond_a_quota_are_refused(store, upload):
    set_quota(upload.experiment, most_bytes=3 * PART, store=store)
    first, second = upload(b"a" * PART, b"b" * PART), upload(b"c" * PART, b"d" * PART)
    assert [first.send(1).status_code, first.send(2).status_code, second.send(1).status_code] == [200, 200, 200]
    refused = second.send(2)
    assert (refused.status_code, refused.json()["error_code"]) == (403, "QUOTA_EXCEEDED")
    assert used(store, upload.experiment) == 3 * PART and recount_quotas(store=store).wrong == []
    assert [check.state for check in doctor(store=store) if check.name == "quotas"] == ["good"]
    assert first.complete().status_code == 200
    assert used(store, upload.experiment) == 3 * PART, "the file counts in the place of its parts"
    assert second.abort().status_code == 200
    assert used(store, upload.experiment) == 2 * PART and recount_quotas(store=store).wrong == []
    third = upload(b"e" * PART)
    assert (third.send(1).status_code, third.complete().status_code) == (200, 200)
    assert get_run(upload.run, store=store).read_artifact("d/f2") == b"e" * PART


def test_a_part_that_is_sent_again_counts_once_by_its_last_size(store, upload):
    set_quota(upload.experiment, most_bytes=2 * PART, store=store)
    one = upload(b"a" * PART, b"b" * PART)
    assert [one.send(1).status_code, one.send(1).status_code, one.send(2, b"b").status_code] == [200, 200, 200]
    assert used(store, upload.experiment) == PART + 1
    assert one.send(2, b"b" * (PART + 1)).status_code == 403
    assert used(store, upload.experiment) == PART + 1, "what was there before is kept, and counts"
    assert (one.send(2).status_code, one.complete().status_code, one.complete().status_code) == (200, 200, 200)
    assert used(store, upload.experiment) == 2 * PART and recount_quotas(store=store).wrong == []


def test_content_that_the_experiment_holds_already_counts_once_however_it_came(store, upload):
    set_quota(upload.experiment, most_bytes=3 * PART, store=store)
    for _ in range(2):
        one = upload(b"a" * PART)
        assert (one.send(1).status_code, one.complete().status_code) == (200, 200)
    assert used(store, upload.experiment) == PART


def test_an_upload_that_began_before_there_was_a_limit_is_counted_whole_when_it_is_finished(store, upload):
    one = upload(b"a" * PART, b"b" * PART)
    one.send(1)
    set_quota(upload.experiment, most_bytes=PART, store=store)
    assert one.send(2).status_code == 200
    assert one.complete().status_code == 403
    set_quota(upload.experiment, most_bytes=UNLIMITED, store=store)
    assert one.complete().status_code == 200
    assert used(store, upload.experiment) == 2 * PART and recount_quotas(store=store).wrong == []


def test_what_is_never_finished_is_given_back_by_a_collection(store, upload):
    set_quota(upload.experiment, most_bytes=PART, store=store)
    upload(b"a" * PART).send(1)
    assert upload(b"b").send(1).status_code == 403
    gc(grace_hours=0, store=store)
    assert (used(store, upload.experiment), upload(b"b").send(1).status_code) == (0, 200)


def test_a_transfer_that_says_its_run_is_asked_for_room_before_a_url_is_signed(bucket, tmp_path, monkeypatch, stage, team):
    monkeypatch.setenv("STRATAL_BLOBS", bucket)
    monkeypatch.setenv("STRATAL_CACHE", str(tmp_path / "cache"))
    place = open_store(tmp_path / "kept")
    set_quota("churn", most_bytes=PART, store=place)
    stage[0].handler = handler = Transfers(place)
    home = {"stratal-run": "0" * 32, "stratal-experiment": "churn"}

    def begin(data: bytes, **headers: str):
        asked = {"digest": sha256(data).hexdigest(), "size_bytes": len(data)}
        return team.http.post("/api/v1/transfers", json=asked, headers=headers)

    assert begin(b"a" * 600, **home).status_code == 201
    refused = begin(b"b" * 600, **home)
    assert (refused.status_code, refused.json()["error"]) == (422, "quota")
    assert begin(b"a" * 600, **home).status_code == 201, "it has its room already"
    assert begin(b"b" * 600).status_code == 201, "it belongs to no experiment that anybody knows of"
    assert used(place, "churn") == 600
    gc(grace_hours=0, store=place)
    assert used(place, "churn") == 0
    handler.close()
    place.close()
