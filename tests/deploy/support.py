"""Shared by the deployment tests: places, tools, the programs' flags, the metric catalogue."""

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
HOME = Path(os.environ.get("SLIMFILL_HOME", Path.home() / ".cache/slimfill"))
BIN = Path(os.environ.get("SLIMFILL_BIN_DIR", ROOT / "build/release/bin"))

# What the images, the compose file and the chart may use of each program, for machines where it is not built. Where it
# is built, its own --help counts.
FLAGS = {
    "slimfill-server": {
        "auth-tokens", "backend", "chunk-tokens", "config", "drain-timeout", "insecure-listen-any", "kv-memory",
        "kv-pages-memory", "kv-store", "kv-store-ca", "kv-store-cert", "kv-store-key", "linear", "listen", "log-level", "max-context", "max-message-mib", "max-queue",
        "max-queue-tokens", "max-running", "metrics-listen", "model", "plan", "randomized-dense-share", "reflection",
        "threads", "tls-cert", "tls-client-ca", "tls-key",
    },
    "slimfill-kvstore": {
        "insecure-listen-any", "l2", "l2-key-file", "l2-password-file", "l2-tls-ca", "l2-tls-cert", "l2-tls-key",
        "l2-ttl", "l2-user", "lease-ttl", "listen", "log-level", "memory", "metrics-listen", "tls-cert", "tls-client-ca",
        "tls-key",
    },
}  # fmt: skip


def tool(name: str) -> str:
    """The path of a command-line tool that scripts/setup.sh installs."""
    for folder in (HOME / "bin", HOME / "venv/bin"):
        if (folder / name).is_file():
            return str(folder / name)
    found = shutil.which(name)
    assert found, f"{name} is missing: run scripts/setup.sh, which installs it below {HOME}"
    return found


def run(*command: str, **options) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


@functools.cache
def known_flags(program: str) -> set[str]:
    if not (BIN / program).is_file():
        return FLAGS[program]
    return set(re.findall(r"(?<![\w-])--([a-z][a-z0-9-]*)", run(str(BIN / program), "--help")))


def assert_known_flags(program: str, arguments: list[str]) -> None:
    for argument in arguments:
        match = re.fullmatch(r"--([a-z0-9-]+)=(.+)", argument)
        assert match, f"{program}: {argument!r} is not --KEY=VALUE"
        assert match[1] in known_flags(program), f"{program} has no --{match[1]}"


def flag_values(arguments: list[str]) -> dict[str, str]:
    return dict(argument.removeprefix("--").split("=", 1) for argument in arguments)


@functools.cache
def metric_catalogue() -> dict[str, tuple[str, frozenset[str]]]:
    """Type ("counter", "gauge", "histogram") and labels of every metric in base/metric_names.h."""
    text = (ROOT / "base/metric_names.h").read_text()
    found = {}
    for body in re.findall(r"constexpr MetricDef \w+\{(.*?)\};", text, re.DOTALL):
        kind = re.match(r"\s*k(\w+)", body)[1].lower()
        # Adjacent string literals are one string in C++.
        strings = re.findall(r'"((?:[^"\\]|\\.)*)"', re.sub(r'"\s*\n\s*"', "", body))
        labels = re.search(r"\{([^{}]*)\}", body)
        found[strings[0]] = (kind, frozenset(re.findall(r'"(\w+)"', labels[1])) if labels else frozenset())
    assert len(found) > 20, "base/metric_names.h was not understood"
    return found
