#!/usr/bin/env python3
"""Checks what the CUDA kernels take of a multiprocessor against engine/ops/cuda/kernels/resources.csv.

Reads the ptxas output that the build with the preset "cuda" keeps beside the objects. A kernel that spills registers,
that takes more registers or static shared memory than recorded, or that is not recorded, fails the check.

Usage: check_kernel_resources.py BUILD_DIR            check
       check_kernel_resources.py BUILD_DIR --update   record what the build has (spills still fail)
"""
import csv
import pathlib
import re
import subprocess
import sys

BUDGET = pathlib.Path(__file__).resolve().parent.parent / "engine/ops/cuda/kernels/resources.csv"
FIELDS = ["kernel", "architecture", "registers", "static_shared_bytes"]
ENTRY = re.compile(
    r"Compiling entry function '(?P<symbol>\w+)' for '(?P<architecture>sm_\w+)'.*?"
    r"(?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers(?P<rest>[^\n]*)", re.DOTALL)


def kernel_names(symbols):
    """Demangled, without namespaces and parameters: FlashKernel<128>."""
    plain = subprocess.run(["c++filt", "-p"], input="\n".join(symbols), text=True, capture_output=True, check=True)
    names = {}
    for symbol, name in zip(symbols, plain.stdout.splitlines()):
        name = name.replace("(anonymous namespace)::", "").replace("slimfill::engine::", "").replace("cuda::", "")
        name = re.sub(r"_INTERNAL_\w+::|_GLOBAL__N__\w+::", "", name)
        names[symbol] = re.sub(r"\(GgmlType\)|\(int\)|^void ", "", name)
    return names


def read_build(build_dir):
    texts = [path.read_text() for path in sorted(pathlib.Path(build_dir).rglob("*.ptxas"))]
    entries = [match for text in texts for match in ENTRY.finditer(text)]
    names = kernel_names([entry["symbol"] for entry in entries])
    found = {}
    for entry in entries:
        shared = re.search(r"(\d+) bytes smem", entry["rest"])
        found[names[entry["symbol"]], entry["architecture"]] = {
            "registers": int(entry["registers"]), "static_shared_bytes": int(shared[1]) if shared else 0,
            "spilled": int(entry["stores"]) + int(entry["loads"])}
    return found


def read_budget():
    if not BUDGET.exists():
        return {}
    with BUDGET.open(newline="") as file:
        return {(row["kernel"], row["architecture"]): row for row in csv.DictReader(file)}


def write_budget(found):
    with BUDGET.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIELDS)
        for (kernel, architecture), used in sorted(found.items()):
            writer.writerow([kernel, architecture, used["registers"], used["static_shared_bytes"]])


def complaints(found, budget):
    for (kernel, architecture), used in sorted(found.items()):
        where = f"{kernel} for {architecture}"
        if used["spilled"]:
            yield f"{where} spills {used['spilled']} bytes of registers"
        recorded = budget.get((kernel, architecture))
        if recorded is None:
            yield f"{where} is not recorded: run this with --update and look at the difference"
            continue
        for field in ("registers", "static_shared_bytes"):
            if used[field] > int(recorded[field]):
                yield f"{where} takes {used[field]} {field}, {recorded[field]} are recorded"
    for kernel, architecture in sorted(set(budget) - set(found)):
        yield f"{kernel} for {architecture} is recorded, but not in the build: run this with --update"


def main():
    if len(sys.argv) not in (2, 3) or (len(sys.argv) == 3 and sys.argv[2] != "--update"):
        sys.exit(__doc__)
    found = read_build(sys.argv[1])
    if not found:
        sys.exit(f"no ptxas output under {sys.argv[1]}: build with the preset cuda first")
    if len(sys.argv) == 3:
        write_budget(found)
    problems = list(complaints(found, read_budget()))
    print("\n".join(problems) or f"kernel resources: {len(found)} kernels keep to {BUDGET.name}, none spills")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
