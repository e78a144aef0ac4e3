#!/usr/bin/env bash
# Installs what scripts/bench.sh compares with: llama.cpp (built here for this machine) and PyTorch with transformers, in
# a Python environment of their own, and their copies of the model. Some 6 GB of disk; the build takes minutes.
# Idempotent. Not needed to build, test or run slimfill. Usage: scripts/setup_peers.sh
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"
case "${1:-}" in
  "") ;;
  -h|--help) sed -n '2,4s/^# //p' "$0"; exit 0 ;;
  *) die "unknown argument '$1' (try --help)" ;;
esac

requirements=$root/scripts/bench/requirements.txt
bash "$root/scripts/setup.sh" --no-tools

if cmp -s "$requirements" "$SLIMFILL_PEERS/requirements.stamp"; then
  step "peers: present"
else
  step "peers: installing $(grep -c '==' "$requirements") pinned packages into $SLIMFILL_PEERS (llama.cpp is built: minutes)"
  rm -f "$SLIMFILL_PEERS/requirements.stamp"
  /usr/bin/python3 -m venv "$SLIMFILL_PEERS"
  # Two compilers at once: llama.cpp's largest files take 1 GB each.
  CMAKE_ARGS="-DGGML_NATIVE=ON" CMAKE_BUILD_PARALLEL_LEVEL=2 nice -n 10 \
    "$SLIMFILL_PEERS/bin/pip" install --quiet --disable-pip-version-check -r "$requirements" >"$SLIMFILL_HOME/peers.log" 2>&1 ||
    { tail -n 20 "$SLIMFILL_HOME/peers.log" >&2; die "pip failed; the full log is $SLIMFILL_HOME/peers.log"; }
  "$SLIMFILL_PEERS/bin/python" -c 'import llama_cpp, torch, transformers' || die "the peers do not load"
  cp "$requirements" "$SLIMFILL_PEERS/requirements.stamp"
fi

step "peers: their copies of the model"
nice -n 10 "$SLIMFILL_PEERS/bin/python" "$root/scripts/bench/make_peer_models.py" --gguf "$QWEN_GGUF" --out "$SLIMFILL_PEERS/models"
step "peers are ready: scripts/bench.sh prefill"
