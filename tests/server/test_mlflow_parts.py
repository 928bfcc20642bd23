"""Files in several parts over MLflow's wire, and reads of ranges: over a folder and over a bucket. Excludes rights by role."""

import os
import random
import threading

import pytest
from mlflow_wire import Wire

from stratal.server.authenticating import AccessGuard
from stratal.server.mlflow.parts import Multipart
from stratal.server.mlflow.surface import Limits, Mlflow
from stratal.server.serving import listening
from stratal.store.access.accounts import AccessStore
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run

API = "/api/2.0/mlflow-artifacts"


class Upload:
    """An upload by hand."""

    def __init__(self, wire: Wire, run: str, file: str, data: list[bytes], *, folder: str = "d") -> None:
        self.http, self.data, self.file = wire.http, data, file
        self.place = f"0/{run}/artifacts{'/' + folder if folder else ''}"
        created = self._post("create", num_parts=len(data))
        assert created.status_code == 200, created.text
        self.id, self.credentials = created.json()["upload_id"], created.json()["credentials"]
        self.etags = [""] * len(data)

    def send(self, number: int, data: bytes | None = None):
        credential = self.credentials[number - 1]
        assert credential["part_number"] == number
        answer = self.http.put(credential["url"], content=self.data[number - 1] if data is None else data, headers=credential["headers"])
        self.etags[number - 1] = answer.headers.get("etag", "")
        return answer

    def complete(self, **changed: object):
        parts = [{"part_number": n + 1, "etag": etag, "url": "x"} for n, etag in enumerate(self.etags)]
        return self._post("complete", **{"upload_id": self.id, "parts": parts, **changed})

    def abort(self):
        return self._post("abort", upload_id=self.id)

    def _post(self, verb: str, **said: object):
        return self.http.post(f"{API}/mpu/{verb}/{self.place}", json={"path": self.file, **said})


@pytest.fixture(params=["folder", "bucket"])
def kept(request, tmp_path, monkeypatch):
    """A served store, its wire, and a run."""
    if request.param == "bucket":
        monkeypatch.setenv("STRATAL_BLOBS", request.getfixturevalue("bucket"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("STRATAL_STORE", str(tmp_path / "kept"))
    store = open_store()
    with listening(Mlflow(store, limits=Limits(part_bytes=3 << 20))) as url:
        wire = Wire(url)
        yield store, wire, wire.run()
        wire.http.close()
    store.close()


def _data(*sizes: int) -> list[bytes]:
    dice = random.Random(7)
    return [dice.randbytes(size) for size in sizes]


def _left(store) -> list[str]:
    return [left.name for left in store.blobs.leftovers(older_than_ns=2**62)] + [path.name for path in store.folder.glob(".coming-*")]


def _collect(store) -> None:
    """As a collection does when they are old enough; a bucket tells ages in whole seconds."""
    for left in list(store.blobs.leftovers(older_than_ns=2**62)):
        assert store.blobs.drop_leftover(left.name, older_than_ns=2**62)


def test_parts_in_any_order_are_put_together_once_all_are_there(kept):
    store, wire, run = kept
    data = _data(1 << 21, 1 << 21, 77)
    upload = Upload(wire, run, "/home/me/large file.bin", data)
    for number in (3, 1):
        assert upload.send(number).status_code == 200
    assert upload.complete().json()["error_code"] == "INVALID_PARAMETER_VALUE", "a part is missing"
    assert get_run(run, store=store).artifacts == []
    assert upload.send(2, b"other").status_code == 200
    assert upload.send(2).status_code == 200, "sent again, the last one counts"
    assert (upload.complete().status_code, upload.complete().json()) == (200, {}), "a repeat gives the same"
    [artifact] = get_run(run, store=store).artifacts
    assert (artifact.path, artifact.size_bytes) == ("d/large file.bin", len(b"".join(data)))
    assert get_run(run, store=store).read_artifact(artifact.path) == b"".join(data)
    assert len(_left(store)) == 1, "that it was finished"
    _collect(store)
    assert _left(store) == []
    assert get_run(run, store=store).read_artifact(artifact.path) == b"".join(data)


def test_what_is_given_up_or_never_finished_leaves_nothing(kept):
    store, wire, run = kept
    upload, forgotten = Upload(wire, run, "a", _data(10, 10)), Upload(wire, run, "b", _data(2 << 20, 5))
    upload.send(1)
    forgotten.send(1)
    assert [upload.abort().json(), upload.abort().json()] == [{}, {}]
    assert upload.send(2).status_code == upload.complete().status_code == 404
    assert all(name.removeprefix("incoming/").startswith(forgotten.id) for name in _left(store))
    _collect(store)
    assert _left(store) == []
    assert forgotten.complete().status_code == 404
    assert get_run(run, store=store).artifacts == []


def test_hostile_uploads_are_refused_and_change_nothing(kept):
    store, wire, run = kept
    place = f"{API}/mpu/create/0/{run}/artifacts"
    for said in ({}, {"path": "..", "num_parts": 1}, {"path": "a/", "num_parts": 1}, {"path": "a", "num_parts": 0}):
        assert wire.http.post(place, json=said).status_code == 400, said
    for count in (10_001, -1, 2**70, "x"):
        assert wire.http.post(place, json={"path": "a", "num_parts": count}).status_code == 400
    assert wire.http.post(f"{API}/mpu/create/0/%2e%2e/x", json={"path": "a", "num_parts": 1}).status_code == 400
    assert wire.http.post(f"{API}/mpu/create/0/{'0' * 32}/artifacts", json={"path": "a", "num_parts": 1}).status_code == 404
    assert wire.http.post(place, content=b'{"path": "a"}', headers={"content-type": "text/plain"}).status_code == 400
    assert _left(store) == []
    upload = Upload(wire, run, "a", _data(10))
    for id in ("0" * 32, "..", "%2e%2e%2f", "x" * 1000, upload.id.upper()):
        assert wire.http.put(f"{API}/mpu/parts/{id}/1", content=b"1").status_code == 404, id
    for number in ("0", "2", "-1", "x", "9" * 50, "²"):
        assert wire.http.put(f"{API}/mpu/parts/{upload.id}/{number}", content=b"1").status_code == 400, number
    assert upload.send(1, b"x" * ((3 << 20) + 1)).status_code == 413
    upload.send(1)
    for parts in ([], [{"part_number": 1, "etag": "0" * 64}], [{"part_number": 1, "etag": upload.etags[0]}] * 2, [{}]):
        assert upload.complete(parts=parts).status_code == 400, parts
    assert upload.complete(path="other").status_code == 400
    assert get_run(run, store=store).artifacts == []
    assert upload.complete().status_code == 200


def test_two_who_finish_at_once_both_have_it(kept):
    store, wire, run = kept
    upload, answers = Upload(wire, run, "a", _data(2 << 20, 2 << 20)), []
    upload.send(1), upload.send(2)
    both = [threading.Thread(target=lambda: answers.append(upload.complete().status_code)) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert answers == [200, 200]
    assert get_run(run, store=store).read_artifact("d/a") == b"".join(upload.data)


def test_each_of_many_who_finish_at_once_waits_for_its_turn(store):
    multipart, inside, most, began, leave = (
        Multipart(store, lambda _asked, _sender: None),
        0,
        0,
        threading.Semaphore(0),
        threading.Semaphore(0),
    )

    def finish() -> None:
        nonlocal inside, most
        with multipart._alone("one"):
            inside += 1
            most = max(most, inside)
            began.release()
            leave.acquire()
            inside -= 1

    threads = [threading.Thread(target=finish) for _ in range(4)]
    threads[0].start(), threads[1].start()
    began.acquire()
    for each in threads[2:]:
        leave.release()  # one ends, another waits already, and a third comes
        began.acquire()
        each.start()
    for _ in range(2):
        leave.release()
    for each in threads:
        each.join()
    assert most == 1 and len(multipart._finishing) == 0


def test_ranges_of_a_file_are_read_where_a_signed_url_says(kept):
    _, wire, run = kept
    [data] = _data((9 << 20) + 5)
    wire.http.put(f"{API}/artifacts/0/{run}/artifacts/a b%25.bin", content=data)
    signed = wire.http.get(f"{API}/presigned/0/{run}/artifacts/a b%25.bin").json()
    assert (signed["file_size"], signed["headers"]) == (len(data), {})

    def read(said: str):
        return wire.http.get(signed["url"], headers={"range": said, **signed["headers"]})

    for said, wanted in (
        ("bytes=0-9", data[:10]),
        ("bytes=5-9437183", data[5:9437184]),
        ("bytes=9437184-", data[9437184:]),
        ("bytes=-7", data[-7:]),
    ):
        answer = read(said)
        assert (answer.status_code, answer.content) == (206, wanted), said
        start = data.index(wanted)
        assert answer.headers["content-range"] == f"bytes {start}-{start + len(wanted) - 1}/{len(data)}"
    assert read("bytes=0-99999999").content == data
    for said in (f"bytes={len(data)}-", "bytes=9-5", "bytes=-0"):
        assert read(said).status_code == 416, said
    for said in ("bytes=0-1,5-6", "pages=1-2", "bytes=x-", "bytes=-"):
        assert (read(said).status_code, len(read(said).content)) == (200, len(data)), said
    assert wire.http.get(f"{API}/presigned/0/{run}/artifacts/nothing").status_code == 404
    assert wire.http.get(f"{API}/presigned/0/{run}/artifacts").status_code == 400


def test_an_upload_is_its_beginners_and_its_parts_ask_who_sends_them(store, stage):
    accounts = AccessStore(store)
    accounts.add_person(name="ada", is_admin=True)
    for name in ("bob", "ben"):
        accounts.add_person(name=name)
        accounts.grant(person=name, role="contributor", on="experiment:Default")
    guard = AccessGuard(store)
    stage[0].handler = Mlflow(store, guard=guard)
    wires = {name: Wire(stage[1]) for name in ("bob", "ben", "nobody")}
    for name in ("bob", "ben"):
        wires[name].http.headers["authorization"] = f"Bearer {accounts.create_token(person=name).secret}"
    run = wires["bob"].run()
    upload = Upload(wires["bob"], run, "a", _data(10))
    assert upload.credentials[0]["headers"] == {"Authorization": wires["bob"].http.headers["authorization"]}
    upload.http = wires["nobody"].http
    upload.credentials[0]["headers"], told = {}, upload.credentials[0]["headers"]
    assert (upload.send(1).status_code, upload.complete().status_code) == (401, 401), "the URL alone grants nothing"
    upload.http = wires["ben"].http
    assert (upload.send(1).status_code, upload.complete().status_code, upload.abort().status_code) == (404, 404, 200)
    upload.http, upload.credentials[0]["headers"] = wires["nobody"].http, told
    assert upload.send(1).status_code == 200
    finished = Upload(wires["bob"], run, "b", _data(5))
    assert (finished.send(1).status_code, finished.complete().status_code) == (200, 200)
    assert wires["bob"].http.get(f"{API}/artifacts/0/{run}/artifacts/d/b").content == finished.data[0], "who sent it has it"
    accounts.remove_grant(person="bob", role="contributor", on="experiment:Default")
    assert upload.send(1).status_code in (403, 404)
    upload.http = wires["bob"].http
    assert upload.complete().status_code in (403, 404)
    assert [artifact.path for artifact in get_run(run, store=store).artifacts] == ["d/b"]
    for wire in wires.values():
        wire.http.close()
    stage[0].handler.close()
    guard.close()


@pytest.mark.slow
def test_the_real_client_sends_and_reads_a_file_of_several_parts(kept, tmp_path, monkeypatch):
    if "CI" not in os.environ:
        pytest.importorskip("mlflow", reason="pip install mlflow-skinny==3.17.2")
    from mlflow import MlflowClient

    store, wire, run = kept
    for name, value in {"ENABLE_PROXY_MULTIPART_UPLOAD": "true", "ENABLE_PROXY_MULTIPART_DOWNLOAD": "true"}.items():
        monkeypatch.setenv(f"MLFLOW_{name}", value)
    for name in ("UPLOAD_MINIMUM_FILE_SIZE", "UPLOAD_CHUNK_SIZE", "DOWNLOAD_MINIMUM_FILE_SIZE", "DOWNLOAD_CHUNK_SIZE"):
        monkeypatch.setenv(f"MLFLOW_MULTIPART_{name}", str(1 << 20))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    (tmp_path / "large.bin").write_bytes(b"".join(_data((3 << 20) + 7)))
    asked: list[str] = []
    wire_post = store.blobs.put_file
    monkeypatch.setattr(type(store.blobs), "put_file", lambda self, path: asked.append(path.name) or wire_post(path))
    client = MlflowClient(wire.url)
    client.log_artifact(run, str(tmp_path / "large.bin"), "models")
    assert len(asked) == 1 and asked[0].startswith(".coming-"), "it was put together of parts"
    assert get_run(run, store=store).read_artifact("models/large.bin") == (tmp_path / "large.bin").read_bytes()
    got = client.download_artifacts(run, "models/large.bin", str(tmp_path))
    with open(got, "rb") as file:
        assert file.read() == (tmp_path / "large.bin").read_bytes()


def test_a_place_that_is_opened_again_goes_on_with_an_upload(kept):
    store, wire, run = kept
    upload = Upload(wire, run, "a", _data(10, 10))
    upload.send(1)
    with listening(Mlflow(open_store(store.url))) as url:  # another server of the same store, or the same one after a crash
        other = Wire(url)
        upload.http = other.http
        for credential in upload.credentials:
            credential["url"] = credential["url"].replace(wire.url, other.url)
        assert upload.send(2).status_code == 200
        assert upload.complete().status_code == 200
        other.http.close()
    assert get_run(run, store=store).read_artifact("d/a") == b"".join(upload.data)
