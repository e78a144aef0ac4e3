#!/usr/bin/env bash
# Speed on this machine beside llama.cpp and PyTorch, where scripts/setup_peers.sh has installed them.
# Usage: scripts/bench.sh prefill|attention|decode|prefix|kv [--tokens 2048,8192,...] [--repeats N] [--engines A,B] [--linear bf16|int8] [--json FILE] [--plot FILE.svg]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"
case "${1:-}" in
  prefill|attention|decode|prefix|kv) ;;
  -h|--help) sed -n '2,3s/^# //p' "$0"; exit 0 ;;
  "") die "which benchmark? prefill, attention, decode, prefix or kv (try --help)" ;;
  *) die "unknown benchmark '$1': use prefill, attention, decode, prefix or kv" ;;
esac

# A --json file is relative to where the user stands, so the folder is changed for the build only.
(cd "$root" && bash scripts/setup.sh --no-tools && build release bench_driver bench_ops bench_kv) >&2
exec "$SLIMFILL_VENV/bin/python" "$root/scripts/bench/run.py" "$@"
