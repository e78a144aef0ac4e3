"""The machine under measurement: what it is, and how much others use it meanwhile."""

import os
import platform
import resource
import subprocess
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cores() -> int:
    return len(os.sched_getaffinity(0))


def describe() -> dict:
    fields = dict(
        (key.strip(), value.strip())
        for key, _, value in (
            line.partition(":") for line in subprocess.check_output(["lscpu"], text=True).splitlines()
        )
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    names = ("Model name", "CPU family", "Model", "Thread(s) per core", "L2 cache", "L3 cache")
    return {
        "cpu": ", ".join(
            f"{name} {fields[name]}" if name != "Model name" else fields[name] for name in names if name in fields
        ),
        "bf16": "avx512_bf16" in fields.get("Flags", "").split(),
        "cores": cores(),
        "memory_gib": round(memory / 2**30),
        "kernel": platform.release(),
    }


def busy_seconds(stat: str) -> float:
    """CPU seconds that all processes and the hypervisor's other guests took since boot, from the text of /proc/stat."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.splitlines()[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS


def process_seconds(stat: str) -> float:
    """CPU seconds of a process, from the text of /proc/PID/stat (its name may hold spaces and parentheses)."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def cores_of_others(before: tuple[float, float, float], after: tuple[float, float, float]) -> float:
    """From two readings of (all busy CPU seconds, our own, seconds since boot). Ticks are coarse: never below 0."""
    busy, own, elapsed = (b - a for a, b in zip(before, after, strict=True))
    return max(0.0, (busy - own) / elapsed) if elapsed > 0 else 0.0


class OthersWatch:
    """How many cores' worth of time went to others than us and `pids`."""

    def __init__(self, pids: list[int]):
        self._pids = pids
        self._start = self._read()

    def _read(self) -> tuple[float, float, float]:
        own = sum(process_seconds(Path(f"/proc/{pid}/stat").read_text()) for pid in self._pids)
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            usage = resource.getrusage(who)
            own += usage.ru_utime + usage.ru_stime
        return busy_seconds(Path("/proc/stat").read_text()), own, float(Path("/proc/uptime").read_text().split()[0])

    def cores_used_by_others(self) -> float:
        return cores_of_others(self._start, self._read())
