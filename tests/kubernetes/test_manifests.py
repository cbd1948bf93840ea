"""The manifests against Kubernetes' own schemas, and against what the project promises of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.kubernetes.api.admission import restricted_faults
from tests.kubernetes.cluster import BASE, DRIVER_TEMPLATE, EXECUTOR_TEMPLATE, REPOSITORY

VERSIONS = [f"1.{minor}" for minor in range(28, 38)]
FILES = sorted(path for path in (REPOSITORY / "deploy/kubernetes").rglob("*.yaml") if path.name != "kustomization.yaml")
TEMPLATES = (DRIVER_TEMPLATE, EXECUTOR_TEMPLATE)
VALUES = REPOSITORY / "deploy/helm/values.yaml"

RIGHTS = {
    ("tailrace-driver", "pods"): {"create", "get", "list", "watch", "delete", "deletecollection"},
    ("tailrace-driver", "configmaps"): {"create", "deletecollection"},
    ("tailrace-task-runner", "pods"): {"create", "get", "list", "watch", "patch", "delete"},
    ("tailrace-task-runner", "pods/log"): {"get"},
    ("tailrace-task-runner", "events"): {"list", "watch"},
}


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


OBJECTS = [obj for path in FILES for obj in documents(path)]


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_fit_the_schemas(version: str) -> None:
    held = {kubernetes_validate.utils.major_minor(known) for known in kubernetes_validate.utils.all_versions()}
    assert version in held, f"kubernetes-validate holds no schemas of {version}, so nothing was checked"
    for obj in OBJECTS:
        kubernetes_validate.validate(obj, version, strict=True)


def test_a_misspelt_field_is_found() -> None:
    broken = documents(EXECUTOR_TEMPLATE)[0]
    broken["spec"]["tolerationz"] = []
    with pytest.raises(kubernetes_validate.ValidationError, match="tolerationz"):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_pods_are_restricted_and_bounded(path: Path) -> None:
    spec = documents(path)[0]["spec"]
    assert restricted_faults(spec) == []
    assert spec["securityContext"]["runAsUser"] > 0
    for container in spec["containers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["resources"]["limits"], "a container without limits may take the whole node"
    assert spec["nodeSelector"]
    assert spec["restartPolicy"] == "Never"


def test_executors_hold_no_token() -> None:
    assert documents(EXECUTOR_TEMPLATE)[0]["spec"]["automountServiceAccountToken"] is False
    bound = [s["name"] for obj in OBJECTS if obj["kind"] == "RoleBinding" for s in obj["subjects"]]
    assert "tailrace-executor" not in bound


def test_rights_are_exactly_these() -> None:
    given = {
        (role["metadata"]["name"], resource): set(rule["verbs"])
        for role in OBJECTS
        if role["kind"] == "Role"
        for rule in role["rules"]
        for resource in rule["resources"]
    }
    assert given == RIGHTS
    assert not [obj for obj in OBJECTS if obj["kind"] in ("ClusterRole", "ClusterRoleBinding")]


def test_no_secret_stands_in_a_file() -> None:
    assert [obj["metadata"]["name"] for obj in OBJECTS if obj["kind"] == "Secret"] == []
    for path in [*FILES, VALUES]:
        assert not re.search(
            r"(?i)^\s*\S*(password|passwd|(?<!account)token|secret_?key)\s*:\s*[\"']?\w", path.read_text(), re.M
        ), path


def test_every_selector_of_the_network_policies_meets_the_pods() -> None:
    labels = [documents(path)[0]["metadata"]["labels"] for path in TEMPLATES]
    policies = {obj["metadata"]["name"]: obj["spec"] for obj in OBJECTS if obj["kind"] == "NetworkPolicy"}
    assert policies["deny-all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, policy in policies.items():
        wanted = policy["podSelector"].get("matchLabels", {})
        assert any(wanted.items() <= found.items() for found in labels), f"{name} selects none of our pods"


def test_the_kustomization_names_every_manifest() -> None:
    base = documents(BASE / "kustomization.yaml")[0]
    assert set(base["resources"]) == {path.name for path in BASE.glob("*.yaml")} - {"kustomization.yaml"}


def test_a_team_of_its_own() -> None:
    team = REPOSITORY / "deploy/kubernetes/teams/example"
    if shutil.which("kubectl") is None:
        warnings.warn("NOT RUN: `kubectl kustomize` of the team overlay, since kubectl is not here.", stacklevel=1)
        return
    built = subprocess.run(["kubectl", "kustomize", team], check=True, capture_output=True, text=True).stdout
    objects = list(yaml.safe_load_all(built))
    homes = {obj["metadata"].get("namespace", obj["metadata"]["name"]) for obj in objects}
    assert homes == {"tailrace-example"}
    for obj in objects:
        kubernetes_validate.validate(obj, VERSIONS[-1], strict=True)


def test_helm_values() -> None:
    """Known keys and secure parts; the chart itself renders where helm and the chart can be reached."""
    values = documents(VALUES)[0]
    assert values["executor"] in ("LocalExecutor", "KubernetesExecutor")
    assert values["triggerer"]["enabled"] is True, "without the triggerer no deferred task ever ends"
    assert values["postgresql"]["enabled"] is False
    secrets = ("fernetKeySecretName", "jwtSecretName", "apiSecretKeySecretName")
    assert all(values[name] for name in secrets)
    assert values["data"]["metadataSecretName"]
    bound = {s["name"] for obj in OBJECTS if obj["kind"] == "RoleBinding" for s in obj["subjects"]}
    accounts = {values[part]["serviceAccount"]["name"] for part in ("scheduler", "workers", "triggerer")}
    assert accounts <= bound, "the rights of deploy/kubernetes are bound to other accounts"
    for part in ("scheduler", "workers", "triggerer", "dagProcessor", "apiServer"):
        assert values[part]["resources"]["limits"], part
        context = values[part]["securityContexts"]
        pod = {
            "securityContext": context["pod"],
            "containers": [{"name": part, "securityContext": context["containers"]}],
        }
        assert restricted_faults(pod) == []
    chart = os.environ.get("AIRFLOW_CHART")
    if shutil.which("helm") is None or chart is None:
        warnings.warn(
            f"NOT RUN: `helm template` of {VALUES.name}; it needs helm, and $AIRFLOW_CHART with the chart.",
            stacklevel=1,
        )
        return
    subprocess.run(["helm", "lint", chart, "-f", VALUES], check=True)
    subprocess.run(["helm", "template", "airflow", chart, "-f", VALUES], check=True, capture_output=True)
