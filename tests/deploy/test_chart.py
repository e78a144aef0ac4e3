"""The Helm chart renders to valid Kubernetes objects that fit together and start the programs with flags they have."""

import itertools
import re
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


def every_workload(documents: list[dict]) -> list[tuple[str, dict, dict]]:
    """(component, object, its one container)"""
    found = []
    for workload in of_kind(documents, "Deployment", "StatefulSet"):
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        found.append((container["name"], workload, container))
    return found


def workloads(documents: list[dict]) -> list[tuple[str, dict, dict]]:
    """Those that run our programs."""
    return [found for found in every_workload(documents) if found[0] != "l2"]


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


def secret_of(workload: dict, container: dict, file: str) -> str:
    """The secret that a file of the container comes from."""
    (mount,) = [m for m in container["volumeMounts"] if m["mountPath"] == str(Path(file).parent)]
    (volume,) = [v for v in workload["spec"]["template"]["spec"]["volumes"] if v["name"] == mount["name"]]
    return volume["secret"]["secretName"]


def test_server_and_store_speak_tls_together(documents):
    found = {component: (workload, container) for component, workload, container in workloads(documents)}
    server = flag_values(found["server"][1]["args"])
    store = flag_values(found["kvstore"][1]["args"]) if "kvstore" in found else {}
    assert len({"tls-cert", "tls-key", "tls-client-ca"} & set(store)) in (0, 3)
    assert len({"kv-store-cert", "kv-store-key", "kv-store-ca"} & set(server)) == (3 if "tls-cert" in store else 0)
    if "tls-cert" in store:
        # Two secrets, each with the certificate that its pod shows, that one's key, and the other's authority.
        stores = {secret_of(*found["kvstore"], store[flag]) for flag in ("tls-cert", "tls-key", "tls-client-ca")}
        servers = {secret_of(*found["server"], server[flag])
                   for flag in ("kv-store-cert", "kv-store-key", "kv-store-ca")}
        assert len(stores) == len(servers) == 1 and stores != servers


def test_store_probes_show_a_certificate(documents):
    for component, _, container in workloads(documents):
        flags = flag_values(container["args"])
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            if "tls-client-ca" not in flags:
                continue
            command = container[name]["exec"]["command"]
            assert f"-tls-client-cert={flags['tls-cert']}" in command, component
            assert f"-tls-client-key={flags['tls-key']}" in command, component


def test_tls_and_the_l2_are_mounted_side_by_side():
    settings = ("--set", "kvstore.tls.secretName=a,kvstore.tls.clientSecretName=b,l2.enabled=true,l2.secretName=c")
    documents = render(None, *settings)
    test_every_object_is_valid_kubernetes(documents)
    test_mounts_name_volumes_and_flags_name_mounted_files(documents)
    test_server_and_store_speak_tls_together(documents)


def test_selectors_match_the_pods_of_one_workload(documents):
    pods = [pod_labels(workload) for _, workload, _ in every_workload(documents)]
    selectors = [workload["spec"]["selector"]["matchLabels"] for _, workload, _ in every_workload(documents)]
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
    for _, workload, container in every_workload(documents):
        pod = workload["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_service_links_cannot_pass_for_settings(documents):
    for _, workload, _ in every_workload(documents):
        assert workload["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_mounts_name_volumes_and_flags_name_mounted_files(documents):
    for component, workload, container in every_workload(documents):
        mounts = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", [])}
        volumes = {volume["name"] for volume in workload["spec"]["template"]["spec"].get("volumes", [])}
        assert set(mounts.values()) == volumes
        named = [variable["value"] for variable in container["env"]] if component == "l2" \
            else flag_values(container["args"]).values()
        for value in named:
            if value.startswith("/"):
                assert any(f"{value}/".startswith(path + "/") for path in mounts), value


def policy_of(documents: list[dict], component: str) -> dict:
    workload = next(workload for name, workload, _ in every_workload(documents) if name == component)
    (policy,) = [policy for policy in of_kind(documents, "NetworkPolicy")
                 if selected(policy["spec"]["podSelector"]["matchLabels"], pod_labels(workload))]
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    return policy["spec"]


def peers_of(documents: list[dict], rules: list[dict], port: str, end: str) -> set[str]:
    """The components that a policy's rules let through to a port; "anybody" where a rule does not say whom."""
    found = set()
    for rule in rules:
        if not any(p["port"] == port for p in rule.get("ports", [{"port": port}])):
            continue
        if end not in rule:
            found.add("anybody")
        for peer in rule.get(end, []):
            found |= {name for name, workload, _ in every_workload(documents)
                      if selected(peer["podSelector"]["matchLabels"], pod_labels(workload))}
    return found


def test_only_servers_reach_the_store(documents):
    if not of_kind(documents, "NetworkPolicy"):
        assert not of_kind(documents, "StatefulSet")
        return
    policy = policy_of(documents, "kvstore")
    assert peers_of(documents, policy["ingress"], "grpc", "from") == {"server"}
    components = {component for component, _, _ in every_workload(documents)}
    flags = flag_values(next(container for name, _, container in workloads(documents) if name == "kvstore")["args"])
    if "l2" in components:
        assert peers_of(documents, policy["egress"], "redis", "to") == {"l2"}
    elif "l2" in flags:
        assert policy["egress"] == [{}]
    else:
        assert policy["egress"] == []


def test_only_the_store_reaches_the_l2(documents):
    if "l2" not in {component for component, _, _ in every_workload(documents)}:
        return
    policy = policy_of(documents, "l2")
    assert peers_of(documents, policy["ingress"], "redis", "from") == {"kvstore", "l2"}
    assert peers_of(documents, policy["ingress"], "bus", "from") == {"l2"}
    assert peers_of(documents, policy["egress"], "redis", "to") == {"l2"}


def test_store_speaks_to_the_l2_that_is_there(documents):
    found = {component: (workload, container) for component, workload, container in every_workload(documents)}
    if "l2" not in found:
        return
    workload, container = found["l2"]
    flags = flag_values(found["kvstore"][1]["args"])
    name, service = workload["metadata"]["name"], workload["spec"]["serviceName"]
    hosts = [f"{name}-{i}.{service}" for i in range(workload["spec"]["replicas"])]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert flags["l2"] == "redis://" + ",".join(f"{host}:{ports['redis']}" for host in hosts)
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert environment["L2_PEERS"].split() == hosts
    (headless,) = [s for s in of_kind(documents, "Service") if s["metadata"]["name"] == service]
    assert headless["spec"]["clusterIP"] == "None" and headless["spec"]["publishNotReadyAddresses"] is True
    assert selected(headless["spec"]["selector"], pod_labels(workload))
    # The script and the settings are the tested ones, and the script knows its variables.
    (config,) = of_kind(documents, "ConfigMap")
    for file in ("l2-node.sh", "l2.conf"):
        assert config["data"][file] == (CHART / "files" / file).read_text()
    used = set(re.findall(r"\bL2_[A-Z_]+\b", config["data"]["l2-node.sh"]))
    assert set(environment) <= used
    assert container["command"] == ["sh", "/etc/l2/l2-node.sh"]


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
    ("kvstore.tls.secretName=a", "clientSecretName"),
    ("kvstore.tls.clientSecretName=a", "secretName"),
    ("kvstore.options.tls-cert=/a", "the chart sets this option itself"),
    ("server.options.kv-store-ca=/a", "the chart sets this option itself"),
    ("l2.enabled=true", "l2.secretName"),
    ("l2.enabled=true,kvstore.enabled=false", "kvstore.enabled"),
    ("l2.enabled=true,l2.secretName=s,kvstore.options.l2=redis://h:1", "the chart sets this option itself"),
    ("l2.address=redis://me:secret@h:1", "address"),
    ("l2.nodes=2", "nodes"),
])
def test_refuses_wrong_values(setting, complaint):
    done = subprocess.run([tool("helm"), "template", "test", str(CHART), "--kube-version", KUBERNETES, "--set", setting],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and complaint in done.stderr, done.stderr
