"""Calls that no client of ours makes, made up from our own OpenAPI and by hypothesis: nothing that comes in makes a 5xx."""

from urllib.parse import quote

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as some

BOUNDED = settings(
    max_examples=2,
    database=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
TEXTS = some.text(some.characters(min_codepoint=33, max_codepoint=255, exclude_characters="?#%"), max_size=30)


@pytest.fixture
def http(served_url: str):
    with httpx.Client(base_url=served_url, timeout=30) as client:
        yield client


def test_calls_made_up_from_our_description_are_answered_without_a_fault_of_ours(http):
    schema = schemathesis.openapi.from_dict(http.get("/api/v1/openapi.json").json())
    seen, faults = set(), []
    for found in schema.get_all_operations():
        operation = found.ok()

        @BOUNDED
        @given(operation.as_strategy())
        def call(case) -> None:
            body = case.body if isinstance(case.body, dict | list | str | int | float | bool | None) else {}
            answer = http.post(case.formatted_path, json=body)
            if answer.status_code >= 500:
                faults.append((case.formatted_path, body))
            seen.add(case.formatted_path)

        call()
    assert faults == []
    assert len(seen) == sum(1 for _ in schema.get_all_operations())


MANY = 1_000_001


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("json", b'{"experiments":[' + b'"a",' * MANY + b'"a"]}'),
        ("msgpack", b"\x81\xabexperiments\xdd" + MANY.to_bytes(4, "big") + b"\xa1a" * MANY),
        ("msgpack", b"\xdf" + MANY.to_bytes(4, "big") + b"\xa5where\xa0" * MANY),
        ("msgpack", b"\x81\xa5where\xdf" + MANY.to_bytes(4, "big") + b"\xa1a\xa0" * MANY),
    ],
)
def test_calls_of_very_many_values_are_refused_before_those_are_made(http, kind: str, body: bytes):
    """Making them would take the interpreter from everybody for seconds, and a gigabyte."""
    answer = http.post("/api/v1/tracking/count", content=body, headers={"content-type": f"application/{kind}"})
    assert (answer.status_code, answer.json()["error"]) == (413, "too-large"), answer.text


@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(path=some.lists(TEXTS, max_size=4), value=TEXTS)
def test_odd_paths_and_headers_are_answered_without_a_fault_of_ours(http, path, value):
    where = "/api/v1/" + "/".join(quote(part, safe="") for part in path)
    for header in ("accept", "content-type", "stratal-user", "stratal-holder", "range", "x-request-id", "origin", "host"):
        answer = http.post(where, headers={header: value.encode("latin-1")}, content=b"{}")
        assert answer.status_code < 500, (where, header, value, answer.text)
