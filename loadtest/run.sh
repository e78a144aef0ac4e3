#!/usr/bin/env bash
# Measures the time to first token of a running server, pruned and dense, with ghz on FirstToken.
#
#   --server HOST:PORT    the server, plain text (127.0.0.1:8080)
#   --start-server        start one of its own on a free port instead, and stop it at the end
#   --requests N          per mode (12)
#   --concurrency N       calls in flight (1)
#   --prompt-tokens N     length of every prompt (8192)
#   --pruning MODE        auto, off or both (both)
#   --rounds N            rounds in which the modes take turns, so that a drifting machine hits both alike (3)
#   --timeout DURATION    of one call (10m)
#   --seed N              of the prompts (1)
#   --output FOLDER       for report.md, report.json and ghz's own results (build/loadtest)
#
# A server that runs a share of requests dense to measure its speedup does so here too: for clean figures start it with
# --randomized-dense-share 0, as --start-server does.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"

server=127.0.0.1:8080 start_server=0 requests=12 concurrency=1 prompt_tokens=8192 pruning=both rounds=3
timeout=10m seed=1 output=$root/build/loadtest
while [ $# -gt 0 ]; do
  case "$1" in
    -h|--help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    --start-server) start_server=1; shift; continue ;;
    --server|--requests|--concurrency|--prompt-tokens|--pruning|--rounds|--timeout|--seed|--output)
      [ $# -ge 2 ] || die "$1 needs a value"
      name=${1#--}; printf -v "${name//-/_}" '%s' "$2"; shift 2 ;;
    *) die "unknown argument '$1' (try --help)" ;;
  esac
done
for name in requests concurrency prompt_tokens rounds; do
  [[ ${!name} =~ ^[1-9][0-9]{0,6}$ ]] || die "--${name//_/-} is '${!name}': give a whole number from 1 to 9999999"
done
case "$pruning" in
  auto|off) modes=("$pruning") ;;
  both) modes=(auto off) ;;
  *) die "--pruning is '$pruning': give auto, off or both" ;;
esac
for tool in ghz grpcurl; do
  [ -x "$SLIMFILL_HOME/bin/$tool" ] || die "$SLIMFILL_HOME/bin/$tool is missing: run scripts/setup.sh"
done
python=$SLIMFILL_VENV/bin/python
if [ "$rounds" -gt "$requests" ]; then rounds=$requests; fi

is_ready() { # exit status 0: serving; nothing is printed
  "$SLIMFILL_HOME/bin/grpcurl" -plaintext -connect-timeout 2 -max-time 5 -import-path "$root/proto" \
    -proto grpc/health/v1/health.proto -d '{"service": "readiness"}' "$server" grpc.health.v1.Health/Check 2>/dev/null |
    grep -q '"SERVING"'
}

start_own_server() {
  local program=${SLIMFILL_BIN_DIR:-$root/build/release/bin}/slimfill-server port
  [ -x "$program" ] || die "$program is missing: build the release preset, or set SLIMFILL_BIN_DIR"
  port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  server=127.0.0.1:$port
  "$program" --listen "$server" --metrics-listen 127.0.0.1:0 --randomized-dense-share 0 >"$output/server.log" 2>&1 &
  server_pid=$!
  trap 'kill "$server_pid" 2>/dev/null || true; wait "$server_pid" 2>/dev/null || true' EXIT
  step "starting slimfill-server on $server"
  for _ in $(seq 120); do
    is_ready && return
    kill -0 "$server_pid" 2>/dev/null || { tail -n 20 "$output/server.log" >&2; die "slimfill-server did not start"; }
    sleep 0.5
  done
  die "slimfill-server is not ready after a minute; its log is $output/server.log"
}

run_ghz() { # MODE ROUND CALLS
  # ghz hands out the array's messages in turn, starting at the first: give each round prompts of its own.
  jq -c --argjson from "$first" --argjson count "$3" '.[$from:$from + $count]' "$output/requests-$1.json" \
    >"$output/round.json"
  "$SLIMFILL_HOME/bin/ghz" --insecure --import-paths "$root/proto" --proto "$root/proto/slimfill/v1/inference.proto" \
    --call slimfill.v1.InferenceService/FirstToken --data-file "$output/round.json" --total "$3" \
    --concurrency "$(($3 < concurrency ? $3 : concurrency))" --timeout "$timeout" --disable-template-functions \
    --disable-template-data --format json --output "$output/result-$1-$2.json" "$server"
}

mkdir -p "$output"
rm -f "$output"/{result-*,requests-*,report.*,prompts.json}
if [ "$start_server" = 1 ]; then start_own_server; fi
is_ready || die "no server is ready at $server: start slimfill-server, or use --start-server"

step "making $requests prompts of $prompt_tokens tokens"
"$python" "$root/loadtest/make_prompts.py" --server "$server" --prompts "$requests" --prompt-tokens "$prompt_tokens" \
  --seed "$seed" --output "$output"

first=0
for round in $(seq "$rounds"); do
  calls=$((requests / rounds + (round <= requests % rounds ? 1 : 0)))
  for mode in "${modes[@]}"; do
    step "round $round of $rounds, pruning $mode: $calls calls"
    run_ghz "$mode" "$round" "$calls"
  done
  first=$((first + calls))
done
rm -f "$output/round.json"
"$python" "$root/loadtest/report.py" "$output" "concurrency=$concurrency" "rounds=$rounds" "seed=$seed"
step "report: $output/report.md, $output/report.json"
