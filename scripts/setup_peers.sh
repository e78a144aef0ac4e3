#!/usr/bin/env bash
# Installs what scripts/bench.sh compares with: llama.cpp (built here for this machine) and PyTorch with transformers, in
# a Python environment of their own, and their copies of the model. Some 6 GB of disk; the build takes minutes.
# Idempotent. Not needed to build, test or run slimfill. Usage: scripts/setup_peers.sh [--mooncake]
# --mooncake: only Mooncake's store, for scripts/bench.sh kv; 100 MB, in an environment of its own.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"
case "${1:-}" in
  ""|--mooncake) ;;
  -h|--help) sed -n '2,5s/^# //p' "$0"; exit 0 ;;
  *) die "unknown argument '$1' (try --help)" ;;
esac

install_mooncake() {
  local folder=$SLIMFILL_HOME/mooncake package=mooncake-transfer-engine-non-cuda==0.3.13.post1
  if [ "$(cat "$folder/stamp" 2>/dev/null)" = "$package" ]; then step "Mooncake: present"; return; fi
  step "Mooncake: installing $package into $folder"
  dpkg-query -W libibverbs1 libnuma1 >/dev/null 2>&1 || as_root apt-get install -y -qq --no-install-recommends libibverbs1 libnuma1
  /usr/bin/python3 -m venv "$folder"
  "$folder/bin/pip" install --quiet --disable-pip-version-check "$package"
  "$folder/bin/python" -c 'import mooncake.store' || die "Mooncake does not load"
  echo "$package" >"$folder/stamp"
}

if [ "${1:-}" = --mooncake ]; then
  bash "$root/scripts/setup.sh" --no-tools
  install_mooncake
  step "ready: scripts/bench.sh kv"
  exit 0
fi

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
