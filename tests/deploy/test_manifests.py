"""What deploy/ holds: each file against its schema, offline, and against the code. Excludes running it: that needs Docker or a cluster."""

import json
import re
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from stratal.core.settings import KEYS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SCHEMAS = Path(__file__).parent / "schemas"
KUBERNETES = json.loads((SCHEMAS / "kubernetes.json").read_text())
MANIFESTS = [path for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")) if path.name != "kustomization.yaml"]


def documents() -> list[dict]:
    return [document for path in MANIFESTS for document in yaml.safe_load_all(path.read_text())]


def only(kind: str) -> dict:
    [found] = [document for document in documents() if document["kind"] == kind]
    return found


def wrong(document: dict) -> list[str]:
    schema = {"$ref": KUBERNETES["kinds"][document["kind"]], "definitions": KUBERNETES["definitions"]}
    return [error.message for error in jsonschema_rs.validator_for(schema).iter_errors(document)]


def compose() -> dict:
    return yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_a_manifest_is_one_by_the_schema_of_kubernetes(path: Path):
    for document in yaml.safe_load_all(path.read_text()):
        assert wrong(document) == []


def test_the_schema_refuses_what_is_misspelt():
    spoilt = only("Deployment")
    spoilt["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    assert wrong(spoilt)
    spoilt = only("PodDisruptionBudget")
    spoilt["spec"]["minAvailable"] = [1]
    assert wrong(spoilt)


def test_the_compose_file_is_one_by_the_compose_specification():
    validator = jsonschema_rs.validator_for(json.loads((SCHEMAS / "compose-spec.json").read_text()))
    assert [error.message for error in validator.iter_errors(compose())] == []
    spoilt = compose()
    spoilt["services"]["server"]["volume"] = []
    assert list(validator.iter_errors(spoilt))


def test_kustomize_lists_every_manifest_and_each_says_what_it_is():
    listed = yaml.safe_load((DEPLOY / "kubernetes/kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == [path.name for path in MANIFESTS]
    assert {document["kind"] for document in documents()} == set(KUBERNETES["kinds"])


def test_selectors_and_ports_meet():
    deployment, service, network = only("Deployment"), only("Service"), only("NetworkPolicy")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for selector in (
        deployment["spec"]["selector"]["matchLabels"], service["spec"]["selector"],
        only("PodDisruptionBudget")["spec"]["selector"]["matchLabels"], network["spec"]["podSelector"]["matchLabels"],
    ):  # fmt: skip
        assert selector.items() <= labels.items()
    [port] = deployment["spec"]["template"]["spec"]["containers"][0]["ports"]
    assert service["spec"]["ports"][0]["targetPort"] == network["spec"]["ingress"][0]["ports"][0]["port"] == port["name"]
    backend = only("Ingress")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert (backend["name"], backend["port"]["name"]) == (service["metadata"]["name"], service["spec"]["ports"][0]["name"])


def test_a_pod_holds_nothing_and_may_do_nothing():
    spec = only("Deployment")["spec"]["template"]["spec"]
    [container] = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] and not spec["automountServiceAccountToken"]
    assert container["securityContext"]["readOnlyRootFilesystem"] and container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert all("emptyDir" in volume for volume in spec["volumes"])
    assert {probe: container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")} == {
        "startupProbe": "/health", "livenessProbe": "/health", "readinessProbe": "/ready",
    }  # fmt: skip


def test_each_volume_and_network_of_the_compose_file_is_declared():
    found = compose()
    for name, service in found["services"].items():
        named = {volume.partition(":")[0] for volume in service.get("volumes", ()) if not volume.startswith(".")}
        assert named <= set(found["volumes"]) and set(service["networks"]) <= set(found["networks"]), name
        assert set(service.get("depends_on", ())) <= set(found["services"]), name
    assert [name for name, service in found["services"].items() if "ports" in service] == ["proxy"], (
        "only the proxy is reached from outside"
    )


def test_no_file_holds_a_secret():
    assert not [document for document in documents() if document["kind"] == "Secret"]
    names = re.compile(r"(?i)(password|secret|key(_id)?|token)$")
    for name, service in compose()["services"].items():
        for variable, value in (service.get("environment") or {}).items():
            assert not names.search(variable) or re.fullmatch(r"\$\{[A-Z_]+:\?[^}]*\}", value), (name, variable)
    for variable in only("Deployment")["spec"]["template"]["spec"]["containers"][0]["env"]:
        assert "secretKeyRef" in variable["valueFrom"]
    example = (DEPLOY / "compose/.env.example").read_text()
    assert re.findall(r"^[A-Z_]*PASSWORD=(.+)$", example, re.MULTILINE) == []
    assert set(re.findall(r"\$\{([A-Z_]+):\?", (DEPLOY / "compose/compose.yaml").read_text())) <= set(
        re.findall(r"^([A-Z_]+)=", example, re.MULTILINE)
    )


def test_each_setting_that_is_set_is_one_of_ours():
    places = [
        *only("ConfigMap")["data"], *compose()["services"]["server"]["environment"],
        *re.findall(r"\b(STRATAL_[A-Z_]+)=", (DEPLOY / "Dockerfile").read_text()),
    ]  # fmt: skip
    ours = {f"STRATAL_{key.upper()}" for key in KEYS}
    assert {name for name in places if name.startswith("STRATAL_")} <= ours


def test_what_the_image_and_the_pod_run_is_a_command_of_ours(capsys):
    from stratal.cli.app import build

    docker = (DEPLOY / "Dockerfile").read_text()
    in_image = json.loads(re.search(r"^CMD (\[.*\])$", docker, re.MULTILINE)[1])
    in_pod, [rule] = only("Deployment")["spec"]["template"]["spec"]["containers"][0]["args"], only("Ingress")["spec"]["rules"]
    assert in_pod == [*in_image, "--name", rule["host"]], "a server refuses names that are not its own"
    assert compose()["services"]["server"]["command"] == [*in_image, "--name", "${STRATAL_DOMAIN:?set it in .env}"]
    with pytest.raises(SystemExit):
        build(["server"])(args=["server", "--help"], prog_name="stratal")
    said = capsys.readouterr().out
    assert in_image[0] == "server" and all(word in said for word in in_image[1:] if word.startswith("--"))


def test_the_image_copies_only_what_is_there():
    docker = (DEPLOY / "Dockerfile").read_text()
    for words in re.findall(r"^COPY (?!--from)(.+)$", docker, re.MULTILINE):
        assert all((ROOT / word).exists() for word in words.split()[:-1]), words
    allowed = {line.lstrip("!") for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {word for words in re.findall(r"^COPY (?!--from)(.+)$", docker, re.MULTILINE) for word in words.split()[:-1]}
    assert copied == allowed
