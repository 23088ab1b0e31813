from typing import Any

import pytest
import yaml

from tests.support.processes.programs import need_program, run_program
from tools.reference_pages import CHECKOUT
from topicserve.cli import commands as cli
from topicserve.cli.config.flags import flags_of
from topicserve.worker.config.loading import load_config
from topicserve.worker.config.schema import WorkerConfig

FOLDER = CHECKOUT / "deploy/kubernetes"


def manifest(name: str) -> Any:
    """Return what a file of the folder says."""
    return yaml.safe_load((FOLDER / name).read_text())


POD = manifest("deployment.yaml")["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]


def config() -> WorkerConfig:
    """Return what the workers are told: the file, and the values in their environment."""
    environment = {one["name"]: one["value"] for one in CONTAINER["env"] if "value" in one}
    arguments = cli.parser_of("worker").parse_args(CONTAINER["args"])
    return load_config(FOLDER / "worker.toml", environment, flags_of(arguments))


def test_kustomize_builds_it() -> None:
    """The configuration becomes a ConfigMap, and the pods name it."""
    kubectl = need_program("kubectl", "kubernetes-client")

    built = list(yaml.safe_load_all(run_program(kubectl, "kustomize", str(FOLDER))))

    by_kind = {one["kind"]: one for one in built}
    assert by_kind.keys() == {
        *("ConfigMap", "Deployment", "PodDisruptionBudget", "ScaledObject"),
    }
    volumes = by_kind["Deployment"]["spec"]["template"]["spec"]["volumes"]
    assert by_kind["ConfigMap"]["metadata"]["name"] in {
        volume["configMap"]["name"] for volume in volumes if "configMap" in volume
    }


def test_variables_that_come_from_secrets_are_keys_too() -> None:
    """One that no one reads would leave the default in force."""
    names = [one["name"] for one in CONTAINER["env"] if one["name"].startswith("TOPICSERVE_")]
    values = dict.fromkeys(names, "1")

    read = load_config(FOLDER / "worker.toml", values, {})

    assert read.metadata.redis_url == "1"
    assert len(names) == 2


def test_scaling_follows_the_group_and_topic_that_the_workers_read() -> None:
    """KEDA asks for the lag by these names."""
    (trigger,) = manifest("scaled_object.yaml")["spec"]["triggers"]

    assert trigger["metadata"]["consumerGroup"] == config().kafka.group_id
    assert (trigger["metadata"]["topic"],) == config().topics.input
    assert trigger["metadata"]["bootstrapServers"] == config().kafka.bootstrap_servers
    target = manifest("scaled_object.yaml")["spec"]["scaleTargetRef"]["name"]
    assert target == manifest("deployment.yaml")["metadata"]["name"]


@pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe", "readinessProbe"])
def test_probes_ask_where_the_worker_answers(probe: str) -> None:
    """By paths that it has, at the port of its configuration."""
    asked = CONTAINER[probe]["httpGet"]

    assert asked["path"] == ("/readyz" if probe == "readinessProbe" else "/livez")
    assert asked["port"] == "http"
    assert CONTAINER["ports"] == [{"name": "http", "containerPort": config().http.port}]
    assert config().http.host == "0.0.0.0"


def test_a_pod_has_time_to_finish() -> None:
    """SIGKILL comes after the worker's own limit."""
    assert POD["terminationGracePeriodSeconds"] > config().delivery.shutdown_timeout_seconds


def test_a_slow_start_is_not_taken_for_a_hang() -> None:
    """The worker itself gives up first, and says why."""
    probe = CONTAINER["startupProbe"]

    assert probe["periodSeconds"] * probe["failureThreshold"] > config().startup_timeout_seconds


def test_selectors_meet_the_pods() -> None:
    """The disruption budget's and the deployment's own."""
    labels = manifest("deployment.yaml")["spec"]["template"]["metadata"]["labels"]

    assert manifest("deployment.yaml")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("disruption_budget.yaml")["spec"]["selector"]["matchLabels"] == labels


def test_models_are_mounted_where_the_configuration_looks() -> None:
    """And so is the configuration itself."""
    mounts = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}

    assert config().servables[0].servable.base_path.startswith(mounts["models"] + "/")
    assert CONTAINER["args"][2].startswith(mounts["config"] + "/")
    assert {mount["name"] for mount in CONTAINER["volumeMounts"]} == {
        volume["name"] for volume in POD["volumes"]
    }
