#!/usr/bin/env bash
# All tests: installs and builds what is missing, then the C++ tests, the end-to-end tests and the deployment tests.
# Usage: scripts/test.sh [release|asan|tsan]   (a sanitizer preset runs the C++ tests only)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# shellcheck source=scripts/lib.sh
source scripts/lib.sh
preset=${1:-release}
case "$preset" in
  release|asan|tsan) ;;
  -h|--help) sed -n '2,3s/^# //p' "$0"; exit 0 ;;
  *) die "unknown preset '$preset': use release, asan or tsan" ;;
esac

bash scripts/setup.sh
/usr/bin/python3 scripts/check_layers.py
build "$preset"
step "C++ tests ($preset)"
ctest --preset "$preset" --output-on-failure -j "$(nproc)"
if [ "$preset" = release ]; then
  step "end-to-end and deployment tests"
  SLIMFILL_BIN_DIR="$root/build/release/bin" "$SLIMFILL_VENV/bin/pytest" -q -p no:cacheprovider tests/integration tests/deploy tests/scripts
fi
