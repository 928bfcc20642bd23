"""Files over MLflow's wire: in and out, listed, taken away; and paths that lead elsewhere. Excludes the real client."""

from http.client import HTTPConnection
from urllib.parse import quote

import pytest

from stratal.tracking.collecting import gc
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run as start_run

PROXY = "/api/2.0/mlflow-artifacts/artifacts"


@pytest.fixture
def place(wire):
    """A run, and where the proxy keeps its files."""
    experiment = wire.experiment()
    run = wire.run(experiment)
    return run, f"{PROXY}/{experiment}/{run}/artifacts"


def names(listed: dict) -> dict[str, int | None]:
    return {file["path"]: file.get("file_size") for file in listed.get("files", ())}


@pytest.mark.parametrize("size", [0, 5, 1 << 20, (3 << 20) + 7])
def test_a_file_comes_back_as_it_went_in_and_nothing_is_left_beside(wire, place, store, size):
    run, at = place
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert wire.http.put(f"{at}/deep/a b%25%23ü.gz", content=data, headers={"content-type": "application/gzip"}).json() == {}
    answer = wire.http.get(f"{at}/deep/a b%25%23ü.gz")
    assert (answer.status_code, answer.content) == (200, data)
    assert "content-encoding" not in answer.headers
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"] == f"attachment; filename*=UTF-8''{quote('a b%#ü.gz')}"
    assert get_run(run, store=store).read_artifact("deep/a b%#ü.gz") == data
    assert [left.name for left in store.folder.glob(".coming-*")] == []


def test_a_file_that_is_put_again_is_replaced(wire, place):
    _, at = place
    for data in (b"1", b"2"):
        wire.http.put(f"{at}/a", content=data)
    assert wire.http.get(f"{at}/a").content == b"2"


def test_folders_are_listed_from_the_run_and_from_themselves(wire, place):
    run, at = place
    for path in ("a.txt", "d/b.txt", "d/e/c.txt", "d0.txt", "d/e!/f"):
        wire.http.put(f"{at}/{path}", content=b"12")
    assert names(wire.read("artifacts/list", run_id=run)) == {"a.txt": 2, "d": None, "d0.txt": 2}
    listed = wire.read("artifacts/list", run_uuid=run, path="d")
    assert names(listed) == {"d/b.txt": 2, "d/e": None, "d/e!": None}
    assert listed["root_uri"] == wire.read("runs/get", run_id=run)["run"]["info"]["artifact_uri"]
    folder = at.removeprefix(f"{PROXY}/")
    assert names(wire.http.get(PROXY, params={"path": f"{folder}/d"}).json()) == {"b.txt": 2, "e": None, "e!": None}
    assert names(wire.http.get(PROXY, params={"path": folder}).json()) == {"a.txt": 2, "d": None, "d0.txt": 2}
    for nothing in (f"{folder}/a.txt", f"{folder}/none", "", "1", "1/x", f"2/{run}/artifacts"):
        assert wire.http.get(PROXY, params={"path": nothing}).json() == {}
    assert wire.read("artifacts/list", run_id=run, path="none")["root_uri"]


def test_what_is_no_file_is_404_and_a_folder_is_400(wire, place):
    run, at = place
    wire.http.put(f"{at}/d/a", content=b"1")
    for path, status in (("none", 404), ("d", 400), ("d/a/b", 404)):
        answer = wire.http.get(f"{at}/{path}")
        assert (answer.status_code, "error_code" in answer.json()) == (status, True)
    assert wire.http.get(f"{PROXY}/1/{'0' * 32}/artifacts/a").status_code == 404
    assert wire.http.put(f"{PROXY}/7/{run}/artifacts/a", content=b"1").status_code == 404, "it is not in that experiment"
    assert wire.http.put(f"{PROXY}/somewhere/a", content=b"1").status_code == 404


def test_files_and_folders_are_taken_away_and_their_bytes_with_them(wire, place, store):
    run, at = place
    for path, data in (("a", b"one"), ("d/b", b"two"), ("d/e/c", b"two"), ("k", b"kept")):
        wire.http.put(f"{at}/{path}", content=data)
    assert wire.http.delete(f"{at}/a").json() == {}
    assert wire.http.delete(f"{at}/d").json() == {}
    assert wire.http.delete(f"{at}/nothing").json() == {}
    assert [artifact.path for artifact in get_run(run, store=store).artifacts] == ["k"]
    assert wire.http.get(f"{at}/a").status_code == 404
    assert len(gc(store=store, grace_hours=0).blobs) == 2


def test_a_dot_in_a_path_is_the_folder_itself(wire, place, store):
    run, at = place
    folder = at.removeprefix(f"{PROXY}/")
    assert _status(wire, "PUT", f"{at}/./d/./a") == 200
    assert [artifact.path for artifact in get_run(run, store=store).artifacts] == ["d/a"]
    assert names(wire.http.get(PROXY, params={"path": f"{folder}/."}).json()) == {"d": None}
    assert names(wire.http.get(PROXY, params={"path": f"{folder}/./d"}).json()) == {"a": 1}
    assert names(wire.read("artifacts/list", run_id=run, path="./d/.")) == {"d/a": 1}
    assert (_status(wire, "GET", f"{at}/d/./a"), _status(wire, "PUT", f"{at}/.")) == (200, 400)


WRONG = [
    "../x", "a/../../x", "%2e%2e/x", "..%2fx", "a/%2e%2e/%2e%2e/x", "%252e%252e/x", "..%5cx", "a//b", "%2fetc/passwd", "C:%5cx",
    "a%00b", "a%0ab", "x" * 1200,
    "./../x", "%252e/x", "a/.%2e/x", ".%5cx",
]  # fmt: skip


@pytest.mark.parametrize("path", WRONG)
def test_a_path_that_leads_elsewhere_is_refused(wire, place, store, path):
    run, at = place
    for verb in ("PUT", "GET", "DELETE"):
        assert _status(wire, verb, f"{at}/{path}") in (400, 404), verb
    assert get_run(run, store=store).artifacts == []


def _status(wire, verb: str, path: str) -> int:
    """Send a path as it is written here: clients for people tidy it up."""
    connection = HTTPConnection(wire.url.removeprefix("http://"))
    connection.request(verb, path, body=b"1" if verb == "PUT" else None)
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../b", "%2e%2e/x", "..\\x"])
def test_lists_and_pages_refuse_such_paths_too(wire, place, path):
    run, _ = place
    assert wire.get("artifacts/list", run_id=run, path=path).status_code == 400
    assert wire.http.get("/get-artifact", params={"run_id": run, "path": path}).status_code == 400
    assert wire.http.get(PROXY, params={"path": path}).status_code == 400


def test_pages_read_files_as_attachments(wire, place):
    run, at = place
    wire.http.put(f"{at}/page.html", content=b"<script>alert(1)</script>")
    answer = wire.http.get("/get-artifact", params={"run_uuid": run, "path": "page.html"})
    assert answer.content == b"<script>alert(1)</script>"
    assert answer.headers["content-disposition"] == "attachment; filename=page.html"
    assert answer.headers["content-security-policy"] == "sandbox"
    assert wire.http.head("/get-artifact", params={"run_uuid": run, "path": "page.html"}).headers["content-length"] == "25"


UPLOAD = "/ajax-api/2.0/mlflow/upload-artifact"


def test_a_file_that_a_page_posts_is_kept(wire, place, store):
    run, _ = place
    answer = wire.http.post(UPLOAD, params={"run_uuid": run, "path": "tables/eval.json"}, content=b'{"a": 1}')
    assert (answer.status_code, answer.json()) == (200, {})
    assert wire.http.get("/get-artifact", params={"run_uuid": run, "path": "tables/eval.json"}).content == b'{"a": 1}'
    assert get_run(run, store=store).read_artifact("tables/eval.json") == b'{"a": 1}'


@pytest.mark.parametrize(
    ("said", "data", "message"),
    [
        ({"run_uuid": "", "path": "a"}, b"1", "run_id"),
        ({"path": ""}, b"1", "path"),
        ({"path": "../a"}, b"1", "Invalid path"),
        ({"path": "a/"}, b"", "must specify data"),
    ],
)
def test_a_posted_file_that_says_too_little_is_refused(wire, place, store, said, data, message):
    run, _ = place
    answer = wire.http.post(UPLOAD, params={"run_uuid": run, **said}, content=data)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert message in answer.json()["message"]
    assert get_run(run, store=store).artifacts == []


def test_a_digest_in_the_query_of_a_posted_file_is_nothing(wire, place, store):
    run, at = place
    wire.http.put(f"{at}/secret", content=b"secret")
    digest = next(artifact.digest for artifact in get_run(run, store=store).artifacts)
    said = {"run_uuid": run, "path": "a", "digest": digest, "size_bytes": "6"}
    assert wire.http.post(UPLOAD, params=said, content=b"mine").status_code == 200
    assert get_run(run, store=store).read_artifact("a") == b"mine"
    assert wire.http.post(UPLOAD, params=said | {"path": "b"}, content=b"").status_code == 400
    assert [artifact.path for artifact in get_run(run, store=store).artifacts] == ["a", "secret"]


def test_files_of_our_users_are_read_by_clients(wire, store):
    with start_run("ours", store=store) as run:
        run.save_bytes("plots/roc.svg", b"<svg/>")
    info = wire.read("runs/get", run_id=run.id)["run"]["info"]
    path = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
    assert wire.http.get(f"{PROXY}/{path}/plots/roc.svg").content == b"<svg/>"
    assert names(wire.read("artifacts/list", run_id=run.id, path="plots")) == {"plots/roc.svg": 6}


def test_nothing_is_saved_into_a_deleted_run(wire, place):
    run, at = place
    wire.ok("runs/delete", run_id=run)
    assert wire.http.put(f"{at}/a", content=b"1").status_code == 400


def test_an_experiment_with_a_place_of_its_own_behind_the_proxy_keeps_files_there(wire, store):
    experiment = wire.ok("experiments/create", name="own", artifact_location="mlflow-artifacts:/my/place")["experiment_id"]
    run = wire.run(experiment)
    assert wire.http.put(f"{PROXY}/my/place/{run}/artifacts/a/{run}/artifacts/b", content=b"1").status_code == 200
    assert [artifact.path for artifact in get_run(run, store=store).artifacts] == [f"a/{run}/artifacts/b"]


def test_files_of_a_logged_model_lie_behind_its_own_place_and_are_not_among_its_runs(wire, place):
    run, at = place
    experiment = wire.read("runs/get", run_id=run)["run"]["info"]["experiment_id"]
    model = wire.ok("logged-models", experiment_id=experiment, name="m", source_run_id=run)["model"]["info"]
    own = model["artifact_uri"].replace("mlflow-artifacts:/", f"{PROXY}/")
    assert wire.http.put(f"{own}/MLmodel", content=b"flavors").status_code == 200
    assert wire.http.get(f"{own}/MLmodel").content == b"flavors"
    wire.http.put(f"{at}/a", content=b"1")
    assert names(wire.read("artifacts/list", run_id=run)) == {"a": 1}
    assert names(wire.http.get(PROXY, params={"path": own.removeprefix(f"{PROXY}/")}).json()) == {"MLmodel": 7}
