"""docker-compose.yaml as it stands: nothing unpinned, unlimited, open to others or with a password of its own."""

from __future__ import annotations

import re
import stat
from typing import Any

import pytest
import yaml

from scripts import compose_check, make_secrets
from tailrace.settings import find_project

TEXT = (find_project().root / "docker-compose.yaml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
ONCE = ("migrate", "buckets")
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
    assert service["read_only"] is (name != "object-store")
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_what_stays_up_has_a_health_check() -> None:
    unwatched = [name for name, each in SERVICES.items() if "healthcheck" not in each]
    assert sorted(unwatched) == sorted(ONCE)


def test_optional_parts_are_started_by_their_profile_alone() -> None:
    profiles = {name: each["profiles"] for name, each in SERVICES.items() if "profiles" in each}
    assert profiles == {
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


def test_make_secrets_writes_what_compose_refuses_to_start_without(tmp_path) -> None:
    needed = {name for name, kind, _ in VARIABLE.findall(TEXT) if kind == "?"}
    assert needed
    assert {text for _, kind, text in VARIABLE.findall(TEXT) if kind == "?"} == {"run make secrets"}
    file = tmp_path / ".env"
    make_secrets.write(file)
    written = dict(re.findall(r"^(\w+)='(.+)'$", file.read_text(), re.M))
    assert set(written) == needed
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert make_secrets.made() != make_secrets.made()
    with pytest.raises(FileExistsError):
        make_secrets.write(file)


def test_no_secret_has_a_default() -> None:
    secret = re.compile(r"PASSWORD|SECRET|TOKEN|_KEY|_USERS?$")
    assert {name for name, kind, _ in VARIABLE.findall(TEXT) if secret.search(name) and kind != "?"} == set()
    assert not re.search(r"(?i)(password|secret|token): *[\"']?[a-z0-9]", TEXT), "a secret stands in the file"


def test_the_check_works_on_a_project_of_its_own(tmp_path) -> None:
    """It removes all volumes at its end: never those of a stack that somebody uses."""
    own = compose_check.variables("base", tmp_path)["COMPOSE_PROJECT_NAME"]
    assert own.startswith("tailrace-check-")
    assert yaml.safe_load(TEXT)["name"] != own
