"""The rules that docs/server.md proposes to Prometheus: of metrics that are there, and each fires. Excludes the metrics' own text."""

import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
import yaml

PAGE = Path(__file__).parents[2] / "docs/server.md"
[RULES] = [found for found in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL) if found.startswith("groups:")]


def test_rules_ask_for_what_the_server_counts(served_url: str):
    httpx.post(f"{served_url}/api/2.0/mlflow/experiments/search", json={"max_results": 1})
    counted = httpx.get(f"{served_url}/metrics").text
    asked = [rule["expr"] for group in yaml.safe_load(RULES)["groups"] for rule in group["rules"]]
    names = {name for each in asked for name in re.findall(r"stratal_\w+", each)}
    assert len(names) >= 4 and not {name for name in names if f"\n{name}" not in counted}
    surfaces = {name for each in asked for name in re.findall(r'surface=~"([^"]+)"', each)}
    counted_of = set(re.findall(r'request_seconds_count\{surface="([^"]+)"', counted))
    assert surfaces and all(any(re.fullmatch(name, of) for of in counted_of) for name in surfaces)


def test_prometheus_takes_the_rules_and_what_is_counted(served_url: str, tmp_path: Path):
    if (tool := shutil.which("promtool")) is None:
        pytest.skip("there is no promtool here")
    (tmp_path / "rules.yml").write_text(RULES)
    subprocess.run([tool, "check", "rules", tmp_path / "rules.yml"], check=True, capture_output=True)
    counted = httpx.get(f"{served_url}/metrics").text
    subprocess.run([tool, "check", "metrics"], input=counted, text=True, check=True, capture_output=True)


# By rule, series by the minute with which it fires after half an hour, and others with which it does not.
ONE = 'instance="a",job="stratal"'
MLFLOW, FILES = "/ajax-api/2.0/mlflow", "/api/2.0/mlflow-artifacts"


def answered(status: int, values: str, surface: str = MLFLOW) -> dict[str, str]:
    return {f'stratal_requests_total{{{ONE},surface="{surface}",status="{status}"}}': values}


def slow(surface: str) -> dict[str, str]:
    """Ten requests a minute, each of which takes two seconds."""
    counts = {"1.0": "0x40", "2.5": "0+10x40", "+Inf": "0+10x40"}
    return {f'stratal_request_seconds_bucket{{{ONE},surface="{surface}",le="{le}"}}': values for le, values in counts.items()}


def gauge(name: str, values: str) -> dict[str, str]:
    return {f"{name}{{{ONE}}}": values}


SCENES = [
    ("StratalDown", gauge("up", "0x40"), True),
    ("StratalDown", {**gauge("up", "1x40"), **gauge("stratal_store_up", "0x40")}, False),
    ("StratalStoreIsAway", gauge("stratal_store_up", "0x40"), True),
    ("StratalStoreIsAway", gauge("stratal_store_up", "1x29 0 1x10"), False),
    ("StratalFails", {**answered(503, "0+1x40"), **answered(200, "0+9x40")}, True),
    ("StratalFails", {**answered(501, "0+1x40"), **answered(200, "0+9x40")}, False),
    ("StratalFails", answered(200, "0x40"), False),
    ("StratalIsFull", answered(429, "0x27 9x13"), True),
    ("StratalIsFull", answered(429, "0+9x40", "/auth"), False),
    ("StratalIsFull", gauge("stratal_pool_waiting", "3x40"), True),
    ("StratalIsFull", gauge("stratal_pool_waiting", "3x28 0 3x20"), False),
    ("StratalIsSlow", slow(MLFLOW), True),
    ("StratalIsSlow", slow(FILES), False),
    ("StratalFallsBehind", gauge("stratal_journal_waiting_bytes", "0+1e6x40"), True),
    ("StratalFallsBehind", gauge("stratal_journal_waiting_bytes", "1e6x40"), False),
    ("StratalTellsNobody", gauge("stratal_webhook_waiting_seconds", "0+60x40"), True),
    ("StratalTellsNobody", gauge("stratal_webhook_waiting_seconds", "1x40"), False),
]


def test_each_rule_has_a_scene_in_which_it_fires_and_one_in_which_it_does_not():
    names = {rule["alert"] for group in yaml.safe_load(RULES)["groups"] for rule in group["rules"]}
    assert {(name, fires) for name, _, fires in SCENES} == {(name, fires) for name in names for fires in (True, False)}


def test_each_rule_fires_when_it_should_and_only_then(tmp_path: Path):
    if (tool := shutil.which("promtool")) is None:
        pytest.skip("there is no promtool here")
    (tmp_path / "rules.yml").write_text(RULES)
    of_all = {"StratalFails", "StratalIsSlow"}  # sums over all servers
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": series, "values": values} for series, values in said.items()],
            "alert_rule_test": [
                {
                    "eval_time": "30m",
                    "alertname": name,
                    "exp_alerts": [{"exp_labels": {} if name in of_all else {"instance": "a", "job": "stratal"}}] if fires else [],
                }
            ],
        }
        for name, said, fires in SCENES
    ]
    scenes = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "scenes.yml").write_text(yaml.safe_dump(scenes))
    done = subprocess.run([tool, "test", "rules", "scenes.yml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
