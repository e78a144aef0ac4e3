"""Starts the real programs on free loopback ports. SLIMFILL_BIN_DIR says where they are (default build/release/bin)."""
import os
import pathlib
import re
import signal
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("SLIMFILL_BIN_DIR", ROOT / "build/release/bin"))
HOME = pathlib.Path(os.environ.get("SLIMFILL_HOME", pathlib.Path.home() / ".cache/slimfill"))
QWEN = HOME / "models/Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf"
SMOLLM2 = HOME / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
START_SECONDS = 120


class Program:
    """A program of ours, running; `address` and `metrics` are the ports it chose."""

    def __init__(self, name: str, *arguments: str, log: pathlib.Path):
        self.log = log
        with open(log, "wb") as output:
            self.process = subprocess.Popen([BIN / name, *arguments], stdout=output, stderr=output)
        match = self._wait_for(r"listening address=(\S+)(?: metrics=(\S+))?")
        self.address, self.metrics = match.group(1), match.group(2)
        if metrics := re.search(r"serving metrics host=(\S+) port=(\d+)", self.text()):
            self.metrics = ":".join(metrics.groups())

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def _wait_for(self, pattern: str) -> re.Match:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if match := re.search(pattern, self.text()):
                return match
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        self.process.kill()
        raise RuntimeError(f"{self.process.args[0]} did not start:\n{self.text()}")

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=60)


def server_arguments(model: pathlib.Path = QWEN, **flags: str) -> list[str]:
    arguments = {"model": str(model), "listen": "127.0.0.1:0", "metrics-listen": "127.0.0.1:0",
                 "randomized-dense-share": "0", **{key.replace("_", "-"): value for key, value in flags.items()}}
    return [f"--{key}={value}" for key, value in arguments.items()]


# What scripts/demo_document.py has the answer to.
QUESTION = "For at least how many years must a written offer be valid?"
