"""The manifests against Kubernetes' own schemas, and against what the project promises of them."""

from __future__ import annotations

import os
import re
import subprocess
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tailrace import settings
from tests.kubernetes.api.admission import restricted_faults
from tests.kubernetes.cluster import BASE, DRIVER_TEMPLATE, EXECUTOR_TEMPLATE, REPOSITORY
from tests.kubernetes.tools import tool

VERSIONS = [f"1.{minor}" for minor in range(28, 38)]
FILES = sorted(path for path in (REPOSITORY / "deploy/kubernetes").rglob("*.yaml") if path.name != "kustomization.yaml")
FILES.append(DRIVER_TEMPLATE)
TEMPLATES = (DRIVER_TEMPLATE, EXECUTOR_TEMPLATE)
VALUES = REPOSITORY / "deploy/helm/values.yaml"
TEAM = REPOSITORY / "deploy/kubernetes/teams/example/kustomization.yaml"
UNSET = "set-by-overlay"
LAKE_SECRET = {"secretRef": {"name": "tailrace-lake", "optional": True}}

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


@pytest.mark.parametrize("release", VERSIONS)
def test_manifests_fit_the_schemas(release: str) -> None:
    held = {kubernetes_validate.utils.major_minor(known) for known in kubernetes_validate.utils.all_versions()}
    assert release in held, f"kubernetes-validate holds no schemas of {release}, so nothing was checked"
    for obj in OBJECTS:
        kubernetes_validate.validate(obj, release, strict=True)


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


def test_the_last_words_of_an_executor_stay_in_its_status() -> None:
    [container] = documents(EXECUTOR_TEMPLATE)[0]["spec"]["containers"]
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_executors_hold_no_token() -> None:
    assert documents(EXECUTOR_TEMPLATE)[0]["spec"]["automountServiceAccountToken"] is False
    bound = [s["name"] for obj in OBJECTS if obj["kind"] == "RoleBinding" for s in obj["subjects"]]
    assert "tailrace-executor" not in bound


def test_executors_run_as_their_own_account() -> None:
    """Spark 4.1 reads the old name of the field; what it does then, test_spark_on_kubernetes_plain.py sees."""
    spec = documents(EXECUTOR_TEMPLATE)[0]["spec"]
    assert spec["serviceAccount"] == spec["serviceAccountName"] == "tailrace-executor"


def test_whoever_opens_the_lake_has_its_credentials_and_executors_no_others() -> None:
    sources = {path.stem: documents(path)[0]["spec"]["containers"][0]["envFrom"] for path in TEMPLATES}
    sources["airflow"] = yaml.safe_load(documents(VALUES)[0]["extraEnvFrom"])
    assert sources["executor"] == [LAKE_SECRET]
    assert all(LAKE_SECRET in given for given in sources.values())


def test_what_only_the_task_knows_of_its_pod_is_left_to_it() -> None:
    """The pod's name and address: tailrace/orchestration/pods/pod_run.py sets them in any template."""
    env = documents(DRIVER_TEMPLATE)[0]["spec"]["containers"][0]["env"]
    assert {entry["valueFrom"]["fieldRef"]["fieldPath"] for entry in env} == {"metadata.namespace"}


def test_the_pods_settings_are_settings() -> None:
    data = documents(BASE / "config.yaml")[0]["data"]
    read = settings.load(data)
    assert {"TAILRACE_LAKE", "TAILRACE_TRACKING_URI"} <= data.keys(), "a pod's own disk is gone with the pod"
    mounts = documents(DRIVER_TEMPLATE)[0]["spec"]["containers"][0]["volumeMounts"]
    assert str(Path(read.spark.pod_template).parent) in [mount["mountPath"] for mount in mounts]


def test_a_teams_overlay_sets_every_placeholder() -> None:
    data = documents(BASE / "config.yaml")[0]["data"]
    left = {f"/data/{name}" for name, value in data.items() if UNSET in value}
    patches = [patch for patch in documents(TEAM)[0]["patches"] if patch["target"]["kind"] == "ConfigMap"]
    changes = [change for patch in patches for change in yaml.safe_load(patch["patch"])]
    assert left == {change["path"] for change in changes} != set()
    assert not [change for change in changes if UNSET in change["value"]]


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


def test_the_clouds_metadata_stays_closed_and_the_way_to_open_it_is_a_policy() -> None:
    text = (BASE / "network-policy.yaml").read_text()
    ranges = [
        peer["ipBlock"]
        for obj in documents(BASE / "network-policy.yaml")
        for rule in obj["spec"].get("egress", [])
        for peer in rule.get("to", [])
        if "ipBlock" in peer
    ]
    wide = [block for block in ranges if block["cidr"] == "0.0.0.0/0"]
    assert [block["except"] for block in wide] == [["169.254.0.0/16"]]
    assert not [block for block in ranges if block["cidr"].startswith("169.254.")]
    [shown] = re.findall(r"^#\n((?:#   .*\n)+)", text, re.M)
    policy = yaml.safe_load(re.sub(r"^#   ", "", shown, flags=re.M))
    kubernetes_validate.validate(policy, VERSIONS[-1], strict=True)
    assert policy["spec"]["egress"][0]["to"][0]["ipBlock"]["cidr"].startswith("169.254.")


def test_the_manifests_that_the_guide_shows_fit_the_schemas() -> None:
    guide = (REPOSITORY / "docs/kubernetes.md").read_text()
    shown = re.findall(r"^```yaml\n(.*?)^```", guide, re.M | re.S) + re.findall(
        r"<<EOF.*?\n(.*?)^EOF", guide, re.M | re.S
    )
    kinds = [yaml.safe_load(text) for text in shown]
    assert sorted(obj["kind"] for obj in kinds) == ["NetworkPolicy", "NetworkPolicy", "Secret"]
    for obj in kinds:
        kubernetes_validate.validate(obj, VERSIONS[-1], strict=True)


def test_the_kustomization_names_every_manifest() -> None:
    base = documents(BASE / "kustomization.yaml")[0]
    assert set(base["resources"]) == {path.name for path in BASE.glob("*.yaml")} - {"kustomization.yaml"}


def test_a_team_of_its_own() -> None:
    kubectl = tool("kubectl")
    if kubectl is None:
        warnings.warn("NOT RUN: `kubectl kustomize` of the team overlay: kubectl is not to be had.", stacklevel=1)
        return
    built = subprocess.run([kubectl, "kustomize", TEAM.parent], check=True, capture_output=True, text=True).stdout
    objects = list(yaml.safe_load_all(built))
    homes = {obj["metadata"].get("namespace", obj["metadata"]["name"]) for obj in objects}
    assert homes == {"tailrace-example"}
    assert UNSET not in built
    subjects = [s for obj in objects if obj["kind"] == "RoleBinding" for s in obj["subjects"]]
    assert {s["namespace"] for s in subjects} == {"tailrace-example", "airflow-example"}
    for obj in objects:
        kubernetes_validate.validate(obj, VERSIONS[-1], strict=True)


def test_helm_values() -> None:
    """Known keys and secure parts; the chart itself renders where helm and the chart can be reached."""
    values = documents(VALUES)[0]
    assert values["executor"] == "LocalExecutor", "of another executor nothing is known"
    assert values["airflowVersion"] == version("apache-airflow")
    assert values["config"]["core"]["dags_folder"] == "/opt/tailrace/app/dags", "where the image has them"
    assert values["triggerer"]["enabled"] is True, "without the triggerer no deferred task ever ends"
    assert values["postgresql"]["enabled"] is False
    secrets = ("fernetKeySecretName", "jwtSecretName", "apiSecretKeySecretName")
    assert all(values[name] for name in secrets)
    assert values["data"]["metadataSecretName"]
    bound = {s["name"] for obj in OBJECTS if obj["kind"] == "RoleBinding" for s in obj["subjects"]}
    accounts = {values[part]["serviceAccount"]["name"] for part in ("scheduler", "triggerer")}
    assert accounts <= bound, "the rights of deploy/kubernetes are bound to other accounts"
    asked = [part["serviceAccount"] for part in values.values() if isinstance(part, dict) and "serviceAccount" in part]
    made = [account["name"] for account in asked if account["create"]]
    assert len(made) == len(set(made)), "two objects of one name"
    for part in ("scheduler", "triggerer", "dagProcessor", "apiServer"):
        assert values[part]["resources"]["limits"], part
        context = values[part]["securityContexts"]
        pod = {
            "securityContext": context["pod"],
            "containers": [{"name": part, "securityContext": context["containers"]}],
        }
        assert restricted_faults(pod) == []
    chart = os.environ.get("AIRFLOW_CHART")
    helm = tool("helm") if chart else None
    if helm is None:
        warnings.warn(
            f"NOT RUN: `helm lint` and `helm template` of {VALUES.name}; they need helm, and $AIRFLOW_CHART with the "
            "official chart, which no package holds.",
            stacklevel=1,
        )
        return
    subprocess.run([helm, "lint", chart, "-f", VALUES], check=True)
    subprocess.run([helm, "template", "airflow", chart, "-f", VALUES], check=True, capture_output=True)
