# Shared by the scripts: places, messages, root. Sourced, never run.
SLIMFILL_HOME=${SLIMFILL_HOME:-$HOME/.cache/slimfill}
SLIMFILL_VENV=$SLIMFILL_HOME/venv
SLIMFILL_PEERS=$SLIMFILL_HOME/peers
SMOLLM2_GGUF=$SLIMFILL_HOME/models/SmolLM2-135M-Instruct.Q4_1.gguf
QWEN_GGUF=$SLIMFILL_HOME/models/Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf
export SLIMFILL_HOME SLIMFILL_VENV SLIMFILL_PEERS SMOLLM2_GGUF QWEN_GGUF
SMOLLM2_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
QWEN_SHA256=1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32

step() { printf '\033[1m==>\033[0m %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "root rights are needed to install packages: run as root or install sudo"; fi
}

# build PRESET [TARGET...]: configures and builds; ninja shows how far it is.
build() {
  local preset=$1; shift
  step "building ($preset)"
  mkdir -p "$SLIMFILL_HOME"
  # What two presets compile alike, in folders beside each other, the cache has once.
  export CCACHE_BASEDIR=${CCACHE_BASEDIR:-$root} CCACHE_NOHASHDIR=${CCACHE_NOHASHDIR:-1}
  cmake --preset "$preset" >"$SLIMFILL_HOME/configure-$preset.log" 2>&1 ||
    { tail -n 30 "$SLIMFILL_HOME/configure-$preset.log" >&2; die "configuring failed"; }
  NINJA_STATUS="[%f/%t, %es] " cmake --build --preset "$preset" ${*:+--target "$@"} || die "the build failed"
}

# wait_for_line FILE PATTERN PID SECONDS: prints the first match; fails when the process ends or time is up.
wait_for_line() {
  local file=$1 pattern=$2 pid=$3 left=$(($4 * 10)) match
  while [ "$left" -gt 0 ]; do
    match=$(grep -oEm1 "$pattern" "$file" 2>/dev/null) && { echo "$match"; return 0; }
    kill -0 "$pid" 2>/dev/null || { tail -n 5 "$file" >&2; return 1; }
    sleep 0.1
    left=$((left - 1))
  done
  tail -n 5 "$file" >&2
  return 1
}
