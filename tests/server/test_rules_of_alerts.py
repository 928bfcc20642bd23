"""The rules that docs/server.md proposes to Prometheus: of metrics that are there. Excludes the metrics' own text."""

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
    surfaces = {name for each in asked for name in re.findall(r'surface="([^"]+)"', each)}
    assert surfaces and all(f'surface="{name}"' in counted for name in surfaces)


def test_prometheus_takes_the_rules_and_what_is_counted(served_url: str, tmp_path: Path):
    if (tool := shutil.which("promtool")) is None:
        pytest.skip("there is no promtool here")
    (tmp_path / "rules.yml").write_text(RULES)
    subprocess.run([tool, "check", "rules", tmp_path / "rules.yml"], check=True, capture_output=True)
    counted = httpx.get(f"{served_url}/metrics").text
    subprocess.run([tool, "check", "metrics"], input=counted, text=True, check=True, capture_output=True)
