#!/usr/bin/env python3
"""Checks the arrows between folders: who may include whom, and where gRPC, CUDA and oneDNN headers may appear."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Folder prefix -> prefixes it may include (itself always). The longest matching prefix counts.
ALLOWED = {
    "base": [],
    "kvstore/api": ["base"],
    "kvstore/core": ["base", "kvstore/api"],
    "kvstore/l2": ["base", "kvstore/api", "kvstore/core"],
    "kvstore/shm": ["base", "kvstore/api"],
    "kvstore/wire": ["base", "kvstore/api", "slimfill/v1/kvstore"],
    "kvstore/client": ["base", "kvstore/api", "kvstore/shm", "kvstore/wire", "slimfill/v1/kvstore"],
    "kvstore/bench": ["base", "kvstore"],
    "kvstore/service": [
        "base", "kvstore/api", "kvstore/core", "kvstore/l2", "kvstore/shm", "kvstore/wire", "slimfill/v1/kvstore",
        "grpc/health",
    ],
    "engine/tensor": ["base"],
    "engine/model": ["base", "engine/ops", "engine/tensor"],
    "engine/ops": ["base", "engine/tensor", "engine/model"],
    "engine/prune": ["base", "engine/model", "engine/ops/backend.h"],
    "engine/sampling": ["base", "engine/model"],
    "engine/kv": ["base", "engine/ops", "engine/tensor", "engine/model", "kvstore/api"],
    "engine/bench": ["base", "engine", "kvstore"],
    "engine/eval": ["base", "engine", "kvstore"],
    "engine/calibrate": ["base", "engine", "kvstore"],
    "engine": ["base", "engine", "kvstore/api"],
    "scheduler": ["base", "engine/engine.h", "engine/sampling", "engine/model"],
    "server": ["base", "scheduler", "engine", "kvstore/api", "slimfill/v1/inference", "google/rpc", "grpc/health"],
    "server/build_engine": ["base", "server", "engine", "kvstore"],
    "cli": ["base", "engine/model/utf8.h", "slimfill/v1/inference", "google/rpc", "grpc/health"],
}
# Third-party headers and the only folders that may include them.
CONFINED = {
    r"grpc(pp)?/|.*\.grpc\.pb\.h|.*\.pb\.h|google/protobuf/": ["server", "cli", "kvstore/wire", "kvstore/client", "kvstore/service"],
    r"cuda|cublas": ["engine/ops/cuda"],
    r"hiredis/": ["kvstore/l2"],
    r"dnnl|oneapi/dnnl|immintrin": ["engine/ops/cpu", "engine/ops/bench"],
}
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^">]+)[">]', re.MULTILINE)


def longest_prefix(path: str, prefixes) -> str | None:
    matches = [prefix for prefix in prefixes if path == prefix or path.startswith((prefix + "/", prefix + "."))]
    return max(matches, key=len, default=None)


def complaints(path: pathlib.Path):
    relative = path.relative_to(ROOT).as_posix()
    room = longest_prefix(relative, ALLOWED)
    if room is None:
        yield f"{relative}: no rule for this folder in scripts/check_layers.py"
        return
    for include in INCLUDE.findall(path.read_text(encoding="utf-8")):
        for pattern, folders in CONFINED.items():
            if re.match(pattern, include) and not any(relative.startswith(folder) for folder in folders):
                yield f"{relative}: includes {include}, which belongs in {', '.join(folders)}"
        ours = include.split("/")[0] in {rule.split("/")[0] for rule in ALLOWED} | {"slimfill"}
        if ours and not any(include.startswith(prefix) for prefix in [room, *ALLOWED[room]]):
            yield f"{relative}: {room} may not include {include}"


def main() -> None:
    sources = [path for folder in ("base", "kvstore", "engine", "scheduler", "server", "cli")
               for path in (ROOT / folder).rglob("*") if path.suffix in {".h", ".cc", ".cu", ".cuh"}]
    found = [line for path in sorted(sources) for line in complaints(path)]
    print("\n".join(found) or f"layers: {len(sources)} files keep to their arrows")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
