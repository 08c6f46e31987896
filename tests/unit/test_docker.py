"""Image, compose file and manifests: linted, valid, true to the settings; the image's own install steps are run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from atp.settings import Settings, is_secret
from tests.conftest import require_promtool

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
BIN = Path(sys.executable).parent
MANIFESTS = [doc for path in sorted(DOCKER.glob("k8s/*.yaml")) for doc in yaml.safe_load_all(path.read_text())]
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
WORKLOADS = [manifest for manifest in MANIFESTS if manifest["kind"] in ("StatefulSet", "Deployment")]
KNOWN = {f"ATP_{name.upper()}" for name in Settings.model_fields}
KNOWN |= {f"ATP_{name.upper()}_FILE" for name in Settings.model_fields if is_secret(name)}


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """A command that must succeed."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def named(manifest: dict[str, Any]) -> str:
    """Kind and name, for the names of tests."""
    return f"{manifest['kind']}-{manifest['metadata']['name']}"


def test_the_dockerfile_passes_its_linter() -> None:
    """hadolint finds nothing."""
    run(str(BIN / "hadolint"), "docker/Dockerfile")


def test_yaml_passes_its_linter() -> None:
    """yamllint finds nothing."""
    run(str(BIN / "yamllint"), "--strict", "-c", "docker/.yamllint", "docker")


def test_prometheus_takes_its_configuration() -> None:
    """promtool reads configuration and rules."""
    require_promtool()
    run("promtool", "check", "config", "docker/prometheus/prometheus.yml")


@pytest.mark.parametrize("manifest", MANIFESTS, ids=named)
def test_manifests_are_valid(manifest: dict[str, Any]) -> None:
    """Kubernetes' own schema, strictly: unknown fields are errors."""
    kubernetes_validate.validate(manifest, "1.31", strict=True)


@pytest.mark.parametrize("manifest", WORKLOADS, ids=named)
def test_workloads_are_safe_to_run(manifest: dict[str, Any]) -> None:
    """Not root, a root file system that is read only, limits, three probes, and a disruption budget."""
    pod = manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()
    budgets = [m["spec"]["selector"]["matchLabels"] for m in MANIFESTS if m["kind"] == "PodDisruptionBudget"]
    assert manifest["spec"]["template"]["metadata"]["labels"] in budgets


def test_the_stores_outlive_the_workers() -> None:
    """A volume of its own for each worker, mounted where the image keeps its data, under the runbooks' name."""
    (workers,) = (manifest for manifest in MANIFESTS if manifest["kind"] == "StatefulSet")
    (claim,) = workers["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "store"
    mounts = {m["name"]: m["mountPath"] for m in workers["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]}
    assert f"ATP_DATA_DIR={mounts['store']} " in (DOCKER / "Dockerfile").read_text()


def given_settings() -> Iterator[str]:
    """Every ATP_ variable that anything under docker/ sets."""
    for path in (*DOCKER.rglob("*.yaml"), DOCKER / "Dockerfile"):
        yield from re.findall(r"\b(ATP_[A-Z_]+)(?==|:| *, value|\n)", path.read_text())


def test_only_settings_that_exist_are_set() -> None:
    """A misspelt variable would be ignored in silence."""
    found = set(given_settings()) - {"ATP_VERSION"}
    assert len(found) > 8
    assert found <= KNOWN


def test_no_secret_is_written_down() -> None:
    """Secrets come by file, never as a value."""
    secrets = {f"ATP_{name.upper()}" for name in Settings.model_fields if is_secret(name)}
    assert not secrets & set(given_settings())


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_service_is_watched_and_bounded(name: str) -> None:
    """A health check and limits for each; ours without rights and with a file system that is read only."""
    service = COMPOSE["services"][name]
    assert service["healthcheck"]["test"]
    assert {"cpus", "memory"} <= service["deploy"]["resources"]["limits"].keys()
    if service["image"].startswith("atp:"):
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]


def test_what_compose_mounts_exists() -> None:
    """Configuration that is mounted from here is here; named volumes and secrets are declared."""
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (DOCKER / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
        assert set(service.get("secrets", [])) <= COMPOSE["secrets"].keys()


def steps() -> Iterator[tuple[str, str]]:
    """Instructions of the build stage, continuation lines joined."""
    stage = (DOCKER / "Dockerfile").read_text().split("\nFROM ")[1].replace("\\\n", " ")
    for line in stage.splitlines():
        word, _, rest = line.partition(" ")
        if word in ("RUN", "COPY"):
            yield word, rest


@pytest.mark.slow
def test_the_images_install_steps_work(tmp_path: Path) -> None:
    """The build stage, step by step, into a folder instead of /opt/atp; the program runs without dev packages."""
    source, target = tmp_path / "src", tmp_path / "atp"
    source.mkdir()
    for word, rest in steps():
        if word == "RUN":
            command = rest.replace("/opt/atp", str(target)).replace("python -m venv", f"{sys.executable} -m venv")
            run("sh", "-c", command, cwd=source)
            continue
        *names, into = shlex.split(rest)
        for name in names:
            place = source / (Path(name).name if into == "./" else into)
            place.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, place)
    atp = str(target / "bin/atp")
    assert "worker" in run(atp, "--help", cwd=tmp_path).stdout
    assert "kafka-acls.sh" in run(atp, "acls", "worker", cwd=tmp_path).stdout
    refused = subprocess.run(
        [atp, "worker", "--bootstrap", "127.0.0.1:1"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "no broker answers" in refused.stderr
    imported = "import atp.facade.app, atp.contracts.papers, atp.monitoring; import agents, tables"
    run(str(target / "bin/python"), "-c", imported, cwd=tmp_path)
    missing = subprocess.run([str(target / "bin/python"), "-c", "import pytest"], capture_output=True, check=False)
    assert missing.returncode != 0
