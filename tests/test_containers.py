"""Compose file, Dockerfile and Kubernetes manifests, as far as they can be checked without an engine."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.settings import variables
from schemas.manifests import PARTITIONS, page
from schemas.topics import TOPICS, configs

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.kafka.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
WORKER = list(yaml.safe_load_all((ROOT / "k8s" / "worker.yaml").read_text()))
NUMBA = {"NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_CACHE_DIR"}

every_service = pytest.mark.parametrize("name", SERVICES)


def of_kind(kind: str) -> dict[str, Any]:
    (found,) = (document for document in WORKER if document["kind"] == kind)
    return dict(found)


def pod() -> dict[str, Any]:
    return dict(of_kind("Deployment")["spec"]["template"]["spec"])


def commands() -> Iterator[list[str]]:
    """Every command of ours that a container runs."""
    yield json.loads(DOCKERFILE[DOCKERFILE.rindex("CMD ") + 4 :])
    yield from (service["command"] for service in SERVICES.values() if "build" in service and "command" in service)
    yield from (container["args"] for container in pod()["containers"])


def test_the_installation_is_whole() -> None:
    assert set(SERVICES) == {"kafka", "registry", "topics", "worker", "ui", "redis", "prometheus"}


@every_service
def test_ports_are_published_on_loopback_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


def test_no_two_services_want_the_same_port() -> None:
    ports = [port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(set(ports)) == len(ports)


@every_service
def test_images_are_pinned_to_a_release(name: str) -> None:
    tag = SERVICES[name]["image"].rpartition(":")[2]
    assert re.fullmatch(r"v?\d+\.\d+\.\d+(-alpine)?", tag)


def test_the_broker_is_the_release_that_the_tests_run_on() -> None:
    jars = (ROOT / "connectors" / "kafka_jars.lock").read_text()
    version = SERVICES["kafka"]["image"].rpartition(":")[2]
    assert f"org.apache.kafka:kafka_2.13:{version} " in jars


def test_the_client_comes_with_the_image_for_no_registry_has_it() -> None:
    assert re.search(r"^RUN pip wheel .* \. \./connectors/client$", DOCKERFILE, re.MULTILINE)


def test_base_images_are_pinned_and_of_one_python() -> None:
    bases = set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE))
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", bases.pop())


@every_service
def test_what_a_service_waits_for_exists_and_can_tell(name: str) -> None:
    waits = SERVICES[name].get("depends_on", {})
    for other in waits:
        assert other in SERVICES
        if isinstance(waits, dict) and waits[other]["condition"] == "service_healthy":
            assert "test" in SERVICES[other]["healthcheck"]


def test_services_find_each_other_by_the_names_and_ports_there_are() -> None:
    for service in SERVICES.values():
        for value in service.get("environment", {}).values():
            for host in re.findall(r"(?:^|//|@)([a-z]+):\d+", str(value)):
                assert host in SERVICES
    assert "INSIDE://kafka:19092" in SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]


def test_named_volumes_are_declared_and_mounted_files_exist() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).is_file() if source.startswith("./") else source in COMPOSE["volumes"]


def test_the_ui_decodes_values_through_the_registry() -> None:
    settings = SERVICES["ui"]["environment"]
    assert settings["KAFKA_CLUSTERS_0_SCHEMAREGISTRY"] == SERVICES["worker"]["environment"]["SCHEMA_REGISTRY_URL"]
    assert settings["KAFKA_CLUSTERS_0_DEFAULTVALUESERDE"] == "SchemaRegistry"


def test_prometheus_scrapes_the_worker_s_port() -> None:
    scrape = yaml.safe_load((ROOT / "prometheus.yml").read_text())["scrape_configs"][0]
    assert scrape["static_configs"][0]["targets"] == ["worker:9464"]
    assert "EXPOSE 9464" in DOCKERFILE


@pytest.mark.parametrize("command", sorted({tuple(command) for command in commands()}), ids=shlex.join)
def test_containers_run_commands_that_exist(command: tuple[str, ...]) -> None:
    called = [str(Path(sys.executable).parent / "cognistream"), *command, "--help"]
    assert subprocess.run(called, capture_output=True, timeout=60, check=False).returncode == 0


def test_containers_set_settings_that_exist() -> None:
    known = set(variables().values()) | NUMBA
    assert set(of_kind("ConfigMap")["data"]) <= known
    assert set(SERVICES["worker"]["environment"]) <= known
    assert set(re.findall(r"^\s+(?:ENV )?(COGNISTREAM_\w+)=", DOCKERFILE, re.MULTILINE)) <= known


def test_everything_that_the_image_copies_is_in_its_context() -> None:
    context = (ROOT / ".dockerignore").read_text().split()
    for line in re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for name in line.split():
            assert (ROOT / name).exists()
            assert f"!{name}" in context


def test_the_image_pins_the_processor_before_it_compiles() -> None:
    """A cache of kernels serves only the processor name and features that it was made with."""
    assert DOCKERFILE.index("NUMBA_CPU_NAME=") < DOCKERFILE.index("kernels.warm()")
    assert DOCKERFILE.index("touch --date") < DOCKERFILE.index("kernels.warm()")


def test_one_version_everywhere() -> None:
    images = {service["image"] for service in SERVICES.values() if "build" in service}
    kustomization = yaml.safe_load((ROOT / "k8s" / "kustomization.yaml").read_text())
    assert images == {f"cognistream:{VERSION}"}
    assert kustomization["images"] == [{"name": "cognistream", "newTag": VERSION}]


def test_the_kafka_manifests_hold_every_topic_as_the_table_says() -> None:
    *topics, user = yaml.safe_load_all(page())
    assert [made["metadata"]["name"] for made in topics] == [row.name for row in TOPICS]
    for row, made in zip(TOPICS, topics, strict=True):
        assert made["kind"] == "KafkaTopic"
        assert made["spec"]["partitions"] == PARTITIONS
        assert made["spec"]["config"].items() >= configs(row, live=True).items()
    assert {right["resource"]["name"] for right in user["spec"]["authorization"]["acls"]} > {row.name for row in TOPICS}


def test_a_worker_may_write_no_source_and_read_nothing_but_sources_and_state() -> None:
    *_, user = yaml.safe_load_all(page())
    rights = {right["resource"]["name"]: right["operations"] for right in user["spec"]["authorization"]["acls"]}
    for row in TOPICS:
        assert ("Write" in rights[row.name]) == (row.role != "source")
        assert ("Read" in rights[row.name]) == (row.role != "derived")


def test_every_resource_of_kustomize_exists() -> None:
    kustomization = yaml.safe_load((ROOT / "k8s" / "kustomization.yaml").read_text())
    assert {path.name for path in (ROOT / "k8s").glob("*.yaml")} == {*kustomization["resources"], "kustomization.yaml"}


def test_pods_are_locked_down() -> None:
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert pod()["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod()["automountServiceAccountToken"] is False
    assert f"USER {pod()['securityContext']['runAsUser']}:" in DOCKERFILE
    for container in (*pod()["containers"], *pod()["initContainers"]):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]


def test_probes_ask_what_the_worker_answers() -> None:
    (worker,) = pod()["containers"]
    ports = {port["name"]: port["containerPort"] for port in worker["ports"]}
    assert ports["metrics"] == int(of_kind("ConfigMap")["data"]["COGNISTREAM_PORT"])
    answered = set(re.findall(r'web\.get\("(/\w+)"', (ROOT / "agents" / "readiness.py").read_text()))
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert worker[probe]["httpGet"]["path"] in answered
        assert worker[probe]["httpGet"]["port"] in ports


def test_all_writing_goes_to_mounted_volumes() -> None:
    (worker,) = pod()["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in worker["volumeMounts"]}
    assert set(mounts.values()) == {volume["name"] for volume in pod()["volumes"]}
    settings = of_kind("ConfigMap")["data"]
    assert settings["COGNISTREAM_STATE"] in mounts
    assert settings["NUMBA_CACHE_DIR"].startswith(settings["COGNISTREAM_STATE"])
    (copy,) = pod()["initContainers"]
    assert settings["NUMBA_CACHE_DIR"] == copy["command"][-1] + Path(copy["command"][-2]).name
    assert f"NUMBA_CACHE_DIR={copy['command'][-2]}" in DOCKERFILE


def test_selectors_meet_their_pods() -> None:
    labels = of_kind("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert of_kind("Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert of_kind("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
