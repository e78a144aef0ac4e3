"""Without a container engine: the images' recipes name packages, files, targets and flags that exist."""

import os
import re
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from support import BIN, DEPLOY, ROOT, assert_known_flags, flag_values, known_flags, run, tool

DOCKER = DEPLOY / "docker"
PROGRAMS = {"server": "slimfill-server", "kvstore": "slimfill-kvstore"}
ENVIRONMENT_PREFIX = {"server": "SLIMFILL_", "kvstore": "SLIMFILL_KVSTORE_"}
COMPOSE = yaml.safe_load((DOCKER / "docker-compose.yaml").read_text())


def instructions(component: str) -> list[tuple[str, str]]:
    """(keyword, rest) of every instruction, continued lines joined."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (DOCKER / f"Dockerfile.{component}").read_text())
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [tuple(line.split(None, 1)) for line in lines if line.strip()]


def stages(component: str) -> list[list[tuple[str, str]]]:
    split = []
    for keyword, rest in instructions(component):
        if keyword == "FROM":
            split.append([])
        split[-1].append((keyword, rest))
    return split


def packages(stage: list[tuple[str, str]]) -> set[str]:
    found = set()
    for keyword, rest in stage:
        for match in re.findall(r"apt-get install ([^&]*)", rest if keyword == "RUN" else ""):
            found |= {word for word in match.split() if not word.startswith("-")}
    return found


@pytest.fixture(params=PROGRAMS)
def component(request) -> str:
    return request.param


def test_hadolint_finds_nothing(component):
    run(tool("hadolint"), "--config", str(DOCKER / ".hadolint.yaml"), str(DOCKER / f"Dockerfile.{component}"))


def test_packages_exist(component):
    release = Path("/etc/os-release").read_text()
    if "VERSION_CODENAME=bookworm" not in release:
        pytest.skip("the images are Debian 12; this machine's package lists are another release's")
    known = set(run("apt-cache", "pkgnames").split())
    for stage in stages(component):
        assert packages(stage) <= known, packages(stage) - known


def test_build_stage_installs_what_setup_installs(component):
    setup = (ROOT / "scripts/setup.sh").read_text()
    listed = set(re.search(r"APT_PACKAGES=\((.*?)\)", setup, re.DOTALL)[1].split())
    build = next(stage for stage in stages(component) if stage[0][1].endswith("AS build"))
    assert packages(build) <= listed
    unneeded = {"libgtest-dev", "libgmock-dev", "libdnnl-dev"}  # by tests and bench_ops only
    assert {package for package in listed if package.endswith("-dev")} - packages(build) <= unneeded


def test_copies_what_is_there_and_what_was_built(component):
    names = {stage[0][1].rpartition(" AS ")[2]: stage for stage in stages(component)}
    ignored = (DOCKER / f"Dockerfile.{component}.dockerignore").read_text().split()
    for keyword, rest in instructions(component):
        if keyword != "COPY":
            continue
        words = rest.split()
        source_stage = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else None
        for source in words[:-1]:
            if source_stage is None:
                assert (ROOT / source).exists() and not any(fnmatch(source, pattern) for pattern in ignored)
            elif source.startswith("/src/build/release/bin/"):
                built = " ".join(rest for keyword, rest in names[source_stage] if keyword == "RUN")
                assert re.search(rf"--target [\w -]*{Path(source).name}\b", built)
            else:
                assert Path(source).name in " ".join(rest for _, rest in names[source_stage])


def test_runs_without_root(component):
    final = stages(component)[-1]
    (user,) = [rest for keyword, rest in final if keyword == "USER"]
    assert user.split(":")[0] not in ("0", "root")
    assert [keyword for keyword, _ in final].index("USER") > max(i for i, (k, _) in enumerate(final) if k == "RUN")


def test_environment_names_options(component):
    for keyword, rest in stages(component)[-1]:
        for name in re.findall(r"(\w+)=", rest if keyword == "ENV" else ""):
            option = name.removeprefix(ENVIRONMENT_PREFIX[component])
            assert option != name and option.lower().replace("_", "-") in known_flags(PROGRAMS[component]), name


def test_smoke_commands_succeed(component):
    """The image's build runs its programs once to see that they load; those commands must work."""
    if not (BIN / PROGRAMS[component]).is_file():
        pytest.skip(f"{BIN / PROGRAMS[component]} is not built: set SLIMFILL_BIN_DIR or build the release preset")
    commands = [rest for keyword, rest in stages(component)[-1] if keyword == "RUN" and "apt-get" not in rest]
    assert any(PROGRAMS[component] in command for command in commands)
    for command in commands:
        run("bash", "-c", command, env=os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"})


def test_ports_agree(component):
    final = dict(stages(component)[-1])
    listened = {value.rpartition(":")[2] for value in re.findall(r"=(\S+)", final["ENV"])}
    assert listened == set(final["EXPOSE"].split())
    assert re.search(r"-addr=127\.0\.0\.1:(\d+)", final["HEALTHCHECK"])[1] in listened


def test_image_has_the_libraries_that_the_program_loads(component):
    program = BIN / PROGRAMS[component]
    if not program.is_file():
        pytest.skip(f"{program} is not built: set SLIMFILL_BIN_DIR or build the release preset")
    if shutil.which("dpkg-query") is None:
        pytest.skip("no Debian packages here to compare with")
    named = packages(stages(component)[-1])
    depends = run("apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts",
                  "--no-breaks", "--no-replaces", "--no-enhances", *sorted(named))
    provided = {line.strip() for line in depends.splitlines() if not line.startswith((" ", "|"))}
    libraries = re.findall(r"=> (/\S+)", run("ldd", str(program)))
    # /lib is a link to /usr/lib, and dpkg may know a file under either name: ask for both, whichever is not found.
    names = {name: library for library in libraries
             for name in (library, os.path.realpath(library), library.removeprefix("/usr"), f"/usr{library}")}
    answer = subprocess.run(["dpkg-query", "-S", *names], capture_output=True, text=True, timeout=120).stdout
    owners = {library: set() for library in libraries}
    for line in answer.splitlines():
        package, _, name = line.rpartition(": ")
        owners[names[name]].add(package.split(":")[0])
    missing = {library: found for library, found in owners.items() if not found & provided}
    assert not missing, f"the image lacks {missing}"


def test_compose_uses_flags_of_the_programs():
    for name, program in PROGRAMS.items():
        assert_known_flags(program, COMPOSE["services"][name]["command"])


def test_compose_parts_fit_together():
    services = COMPOSE["services"]
    store, port = flag_values(services["server"]["command"])["kv-store"].split(":")
    assert port == dict(re.findall(r"(\w+)=\S+:(\d+)", dict(stages(store)[-1])["ENV"]))["SLIMFILL_KVSTORE_LISTEN"]
    assert set(services["server"]["networks"]) & set(services[store]["networks"])
    for service in services.values():
        if "build" in service:
            context = (DOCKER / service["build"]["context"]).resolve()
            assert context == ROOT and (context / service["build"]["dockerfile"]).is_file()
        for volume in service.get("volumes", []):
            source = re.sub(r"\$\{[^}]*\}", "/given", volume).split(":")[0]
            if source.startswith("."):
                assert (DOCKER / source).exists(), source
            elif not source.startswith("/"):
                assert source in COMPOSE["volumes"]
        for published in service.get("ports", []):
            assert published.startswith("127.0.0.1:"), f"{published} is open to other machines"
        assert service["read_only"] and service["cap_drop"] == ["ALL"]


def test_compose_waits_for_the_drain():
    server = COMPOSE["services"]["server"]
    drain = int(flag_values(server["command"])["drain-timeout"].removesuffix("s"))
    assert int(server["stop_grace_period"].removesuffix("s")) >= drain + 10


def test_only_server_and_prometheus_reach_the_store():
    assert COMPOSE["services"]["kvstore"]["networks"] == ["kv"] and "ports" not in COMPOSE["services"]["kvstore"]
    reaching = {name for name, service in COMPOSE["services"].items() if "kv" in service["networks"]}
    assert reaching == {"server", "kvstore", "prometheus"}
    assert COMPOSE["networks"]["kv"]["internal"] is True


def test_compose_l2_fits_its_store_and_its_script():
    overlay = yaml.safe_load((DOCKER / "docker-compose.l2.yaml").read_text())
    services = overlay["services"]
    nodes = {name: service for name, service in services.items() if name != "kvstore"}
    store = services["kvstore"]
    for variable in store["environment"]:
        assert variable.removeprefix("SLIMFILL_KVSTORE_").lower().replace("_", "-") in known_flags("slimfill-kvstore")
    address = store["environment"]["SLIMFILL_KVSTORE_L2"].removeprefix("redis://")
    assert [host.split(":")[0] for host in address.split(",")] == list(nodes)
    assert set(store["networks"]) == {"kv", "l2"} and overlay["networks"]["l2"]["internal"] is True
    script = (DEPLOY / "helm/slimfill/files/l2-node.sh").read_text()
    for index, (name, node) in enumerate(nodes.items()):
        environment = node["environment"]
        assert environment["L2_PEERS"].split() == list(nodes) and environment["L2_INDEX"] == str(index), name
        assert set(environment) <= set(re.findall(r"\bL2_[A-Z_]+\b", script))
        assert node["networks"] == ["l2"] and "ports" not in node
        assert node["read_only"] and node["cap_drop"] == ["ALL"] and node["user"].split(":")[0] != "0"
        for volume in node["volumes"]:
            assert (DOCKER / volume.split(":")[0] / "l2-node.sh").is_file()
    for part in (store, *nodes.values()):
        assert set(part["secrets"]) <= set(overlay["secrets"])
    for name, value in (*store["environment"].items(), *nodes["l2-0"]["environment"].items()):
        if value.startswith("/run/secrets/"):
            assert value.removeprefix("/run/secrets/") in overlay["secrets"], name
