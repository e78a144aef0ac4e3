"""The Helm chart renders to valid Kubernetes objects that fit together and start the programs with flags they have."""

import itertools
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from support import DEPLOY, assert_known_flags, flag_values, run, tool

CHART = DEPLOY / "helm/slimfill"
VALUES = sorted((Path(__file__).parent / "values").glob("*.yaml"))
KUBERNETES = "1.34"  # also what the chart is rendered for: it needs at least 1.30
HEALTH_SERVICES = {"", "liveness", "readiness"}


def render(values: Path | None, *settings: str) -> list[dict]:
    command = [tool("helm"), "template", "test", str(CHART), "--namespace", "ns", "--kube-version", KUBERNETES]
    if values:
        command += ["--values", str(values)]
    return [document for document in yaml.safe_load_all(run(*command, *settings)) if document]


@pytest.fixture(params=[None, *VALUES], ids=lambda path: path.stem if path else "defaults")
def documents(request) -> list[dict]:
    return render(request.param)


def of_kind(documents: list[dict], *kinds: str) -> list[dict]:
    return [document for document in documents if document["kind"] in kinds]


def workloads(documents: list[dict]) -> list[tuple[str, dict, dict]]:
    """(component, object, its one container)"""
    found = []
    for workload in of_kind(documents, "Deployment", "StatefulSet"):
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        found.append((container["name"], workload, container))
    return found


def selected(selector: dict, labels: dict) -> bool:
    return selector.items() <= labels.items()


def pod_labels(workload: dict) -> dict:
    return workload["spec"]["template"]["metadata"]["labels"]


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def probe_target(probe: dict) -> tuple[int, str]:
    """(port, health service) that a probe asks, by Kubernetes itself or by the probe program."""
    if "grpc" in probe:
        return probe["grpc"]["port"], probe["grpc"]["service"]
    program, *arguments = probe["exec"]["command"]
    assert program == "grpc-health-probe"
    options = dict(argument.lstrip("-").partition("=")[::2] for argument in arguments)
    return port_of(options["addr"]), options["service"]


@pytest.mark.parametrize("values", [None, *VALUES], ids=lambda path: path.stem if path else "defaults")
def test_lints(values):
    run(tool("helm"), "lint", "--strict", "--kube-version", KUBERNETES, str(CHART),
        *(["--values", str(values)] if values else []))


def test_every_object_is_valid_kubernetes(documents):
    for document in documents:
        if document["kind"] == "ServiceMonitor":  # a custom resource: its schema is not Kubernetes' own
            assert document["apiVersion"] == "monitoring.coreos.com/v1"
            continue
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_arguments_are_flags_of_the_programs(documents):
    for component, _, container in workloads(documents):
        assert_known_flags(f"slimfill-{component}", container["args"])
        keys = [argument.partition("=")[0] for argument in container["args"]]
        assert len(keys) == len(set(keys)), f"{component}: an option is given twice"


def test_ports_match(documents):
    services = of_kind(documents, "Service")
    for _, workload, container in workloads(documents):
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        flags = flag_values(container["args"])
        assert ports == {"grpc": port_of(flags["listen"]), "metrics": port_of(flags["metrics-listen"])}
        mine = [service for service in services if selected(service["spec"]["selector"], pod_labels(workload))]
        assert mine
        for port in itertools.chain.from_iterable(service["spec"]["ports"] for service in mine):
            assert port["targetPort"] == port["name"] and port["port"] == ports[port["name"]]
        annotations = workload["spec"]["template"]["metadata"]["annotations"]
        if "prometheus.io/port" in annotations:
            assert annotations["prometheus.io/port"] == str(ports["metrics"])


def test_probes_ask_health_services_that_exist(documents):
    for _, workload, container in workloads(documents):
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            port, service = probe_target(container[name])
            assert port == port_of(flag_values(container["args"])["listen"])
            assert service in HEALTH_SERVICES
            assert service == ("liveness" if name == "livenessProbe" else "readiness")


def test_probes_speak_tls_exactly_when_the_server_does(documents):
    for _, _, container in workloads(documents):
        flags = flag_values(container["args"])
        assert ("exec" in container["readinessProbe"]) == ("tls-cert" in flags)
        assert ("insecure-listen-any" in flags) != ("tls-cert" in flags)


def test_selectors_match_the_pods_of_one_workload(documents):
    pods = [pod_labels(workload) for _, workload, _ in workloads(documents)]
    selectors = [workload["spec"]["selector"]["matchLabels"] for _, workload, _ in workloads(documents)]
    selectors += [service["spec"]["selector"] for service in of_kind(documents, "Service")]
    selectors += [budget["spec"]["selector"]["matchLabels"] for budget in of_kind(documents, "PodDisruptionBudget")]
    for policy in of_kind(documents, "NetworkPolicy"):
        selectors.append(policy["spec"]["podSelector"]["matchLabels"])
    for selector in selectors:
        assert sum(selected(selector, labels) for labels in pods) == 1, selector


def test_server_speaks_to_the_store_that_is_there(documents):
    containers = {component: (workload, container) for component, workload, container in workloads(documents)}
    address = flag_values(containers["server"][1]["args"])["kv-store"]
    if "kvstore" not in containers:
        assert address == "embedded"
        return
    workload, container = containers["kvstore"]
    service = next(s for s in of_kind(documents, "Service") if s["metadata"]["name"] == address.partition(":")[0])
    assert selected(service["spec"]["selector"], pod_labels(workload))
    assert workload["spec"]["serviceName"] == service["metadata"]["name"]
    assert port_of(address) == port_of(flag_values(container["args"])["listen"])


def test_pods_outlive_the_drain(documents):
    for component, workload, container in workloads(documents):
        if component != "server":
            continue
        drain = int(flag_values(container["args"])["drain-timeout"].removesuffix("s"))
        sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert workload["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= drain + sleep + 10


def test_pods_meet_the_restricted_standard(documents):
    for _, workload, container in workloads(documents):
        pod = workload["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_service_links_cannot_pass_for_settings(documents):
    for _, workload, _ in workloads(documents):
        assert workload["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_mounts_name_volumes_and_flags_name_mounted_files(documents):
    for _, workload, container in workloads(documents):
        mounts = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", [])}
        volumes = {volume["name"] for volume in workload["spec"]["template"]["spec"].get("volumes", [])}
        assert set(mounts.values()) == volumes
        for value in flag_values(container["args"]).values():
            if value.startswith("/"):
                assert any(value.startswith(path + "/") for path in mounts), value


def test_only_servers_reach_the_store(documents):
    policies = of_kind(documents, "NetworkPolicy")
    if not policies:
        assert not of_kind(documents, "StatefulSet")
        return
    (policy,) = policies
    server = next(workload for component, workload, _ in workloads(documents) if component == "server")
    to_grpc = [rule for rule in policy["spec"]["ingress"] if any(p["port"] == "grpc" for p in rule["ports"])]
    (rule,) = to_grpc
    (peer,) = rule["from"]
    assert selected(peer["podSelector"]["matchLabels"], pod_labels(server))
    assert policy["spec"]["egress"] == []


def test_service_monitor_finds_each_workload_once(documents):
    for monitor in of_kind(documents, "ServiceMonitor"):
        scraped = [service for service in of_kind(documents, "Service")
                   if selected(monitor["spec"]["selector"]["matchLabels"], service["metadata"]["labels"])]
        assert len(scraped) == len(workloads(documents))
        for service in scraped:
            assert "metrics" in {port["name"] for port in service["spec"]["ports"]}


def test_large_numbers_stay_whole():
    settings = ("--set", "server.options.max-context=1048576")
    server = next(container for component, _, container in workloads(render(None, *settings)) if component == "server")
    assert "--max-context=1048576" in server["args"]


@pytest.mark.parametrize("setting, complaint", [
    ("server.replica=2", "replica"),
    ("server.memoryGiB=0", "memoryGiB"),
    ("model.file=/etc/passwd", "model"),
    ("server.ports.grpc=80", "grpc"),
    ("server.options.listen=0.0.0.0:1", "the chart sets this option itself"),
    ("kvstore.options.memory=1GiB", "the chart sets this option itself"),
])
def test_refuses_wrong_values(setting, complaint):
    done = subprocess.run([tool("helm"), "template", "test", str(CHART), "--kube-version", KUBERNETES, "--set", setting],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and complaint in done.stderr, done.stderr
