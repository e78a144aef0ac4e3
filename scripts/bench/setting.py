"""Where everything is, and who takes part: the engines that are installed, started as drivers."""

import dataclasses
import os
import sys
from contextlib import ExitStack
from pathlib import Path

import machine
from driver import Driver
from make_peer_models import BF16_GGUF, TORCH_FOLDER

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("SLIMFILL_BIN_DIR", ROOT / "build/release/bin"))
HOME = Path(os.environ.get("SLIMFILL_HOME", Path.home() / ".cache/slimfill"))
GGUF = Path(os.environ.get("QWEN_GGUF", HOME / "models/Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf"))
PEERS = Path(os.environ.get("SLIMFILL_PEERS", HOME / "peers"))
MOONCAKE = HOME / "mooncake/bin/python"  # scripts/setup_peers.sh --mooncake
DOCUMENT = Path("/usr/share/common-licenses/GPL-3")  # on every Debian machine
HERE = Path(__file__).parent

LLAMA = ["llama.cpp-bf16", "llama.cpp-q4_k_m"]
TORCH = ["torch-bf16"]
ANSWER_TOKENS = 1024  # room after the longest prompt


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def peers_missing() -> str | None:
    """Why no peer can take part, or None."""
    if (PEERS / "requirements.stamp").is_file() and (PEERS / "models" / TORCH_FOLDER).exists():
        return None
    return "not installed; scripts/setup_peers.sh installs it"


def start_ours(stack: ExitStack, longest: int, threads: int, linear: str) -> Driver:
    progress("loading ours")
    driver = Driver(
        "ours",
        [
            BIN / "bench_driver",
            "--model",
            GGUF,
            "--document",
            DOCUMENT,
            "--linear",
            linear,
            "--threads",
            threads,
            "--context",
            longest + ANSWER_TOKENS,
        ],
    )
    stack.callback(driver.close)
    return driver


def start_peers(stack: ExitStack, names: list[str], longest: int, threads: int) -> dict[str, Driver]:
    """Those that are installed; a line for each that is not."""
    drivers = {}
    for name in names:
        if reason := peers_missing():
            progress(f"skipped {name}: {reason}")
            continue
        progress(f"loading {name}")
        drivers[name] = Driver(name, peer_command(name, longest, threads))
        stack.callback(drivers[name].close)
    return drivers


def peer_command(name: str, longest: int, threads: int) -> list[str | Path]:
    python = PEERS / "bin/python"
    models = {LLAMA[0]: PEERS / "models" / BF16_GGUF, LLAMA[1]: GGUF, TORCH[0]: PEERS / "models" / TORCH_FOLDER}
    if name in LLAMA:
        return [
            python,
            HERE / "peer_llama.py",
            "--model",
            models[name],
            "--threads",
            threads,
            "--context",
            longest + ANSWER_TOKENS,
        ]
    return [python, HERE / "peer_torch.py", "--model", models[name], "--threads", threads]


def tune(drivers: dict[str, Driver], tokens: list[int], sizes: list[int]) -> dict:
    """Lets llama.cpp choose its batch size of `sizes` on this prompt; what it found, by engine."""
    found = {}
    for name in LLAMA:
        if name in drivers:
            progress(f"tuning {name}")
            found[name] = drivers[name].ask("tune", tokens=tokens, sizes=sizes)
            progress(f"    n_batch = n_ubatch = {found[name]['n_ubatch']}")
    return found


@dataclasses.dataclass
class Session:
    """The engines of one benchmark, loaded, and a watch on who else uses the machine."""

    ours: Driver
    peers: dict[str, Driver]
    settings: dict
    watch: machine.OthersWatch

    def about(self, arguments, peak: float) -> dict:
        """What every benchmark's result says of how it was measured. `peak`: bf16 operations a second."""
        return {
            "versions": {name: d.about["version"] for name, d in {"ours": self.ours, **self.peers}.items()},
            "settings": self.settings,
            "model": self.ours.about["model"],
            "threads": arguments.threads,
            "peak_gflops": peak / 1e9,
            "cores_used_by_others": self.watch.cores_used_by_others(),
        }


def start(stack: ExitStack, arguments, peers: list[str], longest: int, tune_tokens: int) -> Session:
    """Ours and those of `peers` that are asked for and installed, for prompts up to `longest` tokens."""
    ours = start_ours(stack, longest, arguments.threads, arguments.linear)
    drivers = start_peers(stack, [name for name in peers if name in arguments.engines], longest, arguments.threads)
    settings = tune(drivers, ours.ask("prompt", tokens=tune_tokens)["tokens"], arguments.ubatch)
    watch = machine.OthersWatch([ours.pid, *(driver.pid for driver in drivers.values())])
    return Session(ours, drivers, settings, watch)
