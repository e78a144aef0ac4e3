#!/usr/bin/env bash
# The main job on this machine: installs and builds what is missing, starts slimfill-kvstore and slimfill-server on free
# loopback ports, and asks Qwen2.5-Coder-0.5B a question whose answer stands deep in a long document: without pruning,
# with pruning, and then a second question about the same document, which finds its prefix in the KV store. With --hot a
# third one as well, after the server has used idle time to run the document densely (as long as the first answer took).
# Usage: scripts/demo.sh [--tokens N (1024 to 32768, default 8192)] [--hot] [--json FILE]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# shellcheck source=scripts/lib.sh
source scripts/lib.sh

tokens=8192 json="" densify=0
while [ $# -gt 0 ]; do
  case "$1" in
    --tokens) tokens=${2:?--tokens needs a number}; shift 2 ;;
    --hot) densify=1; shift ;;
    --json) json=${2:?--json needs a file}; shift 2 ;;
    -h|--help) sed -n '2,6s/^# //p' "$0"; exit 0 ;;
    *) die "unknown argument '$1' (try --help)" ;;
  esac
done
[[ $tokens =~ ^[0-9]+$ ]] && [ "$tokens" -ge 1024 ] && [ "$tokens" -le 32768 ] ||
  die "--tokens is $tokens, must be between 1024 and 32768"

bash scripts/setup.sh --no-tools
build release slimfill-server slimfill-kvstore slimfill

work=$(mktemp -d)
pids=()
stop() {
  local pid
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap stop EXIT

step "starting slimfill-kvstore and slimfill-server"
build/release/bin/slimfill-kvstore --listen 127.0.0.1:0 --memory 2GiB >"$work/kvstore.log" 2>&1 &
pids+=($!)
kvstore=$(wait_for_line "$work/kvstore.log" 'listening address=[^ ]+' "${pids[0]}" 30) || die "slimfill-kvstore did not start"
kvstore=${kvstore#listening address=}
build/release/bin/slimfill-server --model "$QWEN_GGUF" --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 \
  --kv-store "$kvstore" --randomized-dense-share 0 --densify "$densify" >"$work/server.log" 2>&1 &
pids+=($!)
listening=$(wait_for_line "$work/server.log" 'listening address=[^ ]+ metrics=[^ ]+' "${pids[1]}" 120) ||
  die "slimfill-server did not start"
server=$(sed -E 's/.*address=([^ ]+).*/\1/' <<<"$listening")
metrics=$(sed -E 's/.*metrics=([^ ]+).*/\1/' <<<"$listening")
echo "    kvstore $kvstore, server $server, metrics http://$metrics/metrics"

/usr/bin/python3 scripts/demo_document.py --tokens "$tokens" >"$work/document.txt"
question="For at least how many years must a written offer be valid?"
follow_up="Who is bound by these terms and conditions?"

# ask NAME ARGUMENT...: runs the client, keeps its JSON, shows what matters.
ask() {
  local name=$1; shift
  build/release/bin/slimfill ask --server "$server" --file "$work/document.txt" --max-tokens 48 --json "$@" \
    >"$work/$name.json" || { cat "$work/$name.json" >&2; die "the question ($name) failed"; }
  jq -r '"    answer   \(.text | gsub("\\s+"; " "))\n    ttft     \(.ttft_ms / 1000 * 100 | round / 100) s for " +
    "\(.prompt_tokens) prompt tokens (\(.cached_tokens) from the KV store), kept per stage \(.kept_tokens | join(" > "))" +
    (if .fallbacks == [] then "" else ", fell back: \(.fallbacks | join(", "))" end)' "$work/$name.json"
}

densified() {
  curl -sf "http://$metrics/metrics" | sed -n 's/^slimfill_densified_tokens_total //p' | cut -d. -f1
}

# Until nothing has been added for ten seconds.
await_hot() {
  local before=0 now quiet=0
  while [ "$quiet" -lt 2 ]; do
    sleep 5
    now=$(densified)
    now=${now:-0}
    if [ "$now" = "$before" ]; then quiet=$((quiet + 1)); else quiet=0; fi
    before=$now
    if [ -t 1 ]; then printf '\r    %s tokens' "$now"; fi
  done
  if [ -t 1 ]; then printf '\r'; fi
  echo "    $before tokens are hot"
}

step "a document of $(wc -w <"$work/document.txt") words; question: $question"
step "without pruning"
ask dense --pruning off --no-store "$question"
step "with pruning"
ask pruned --pruning auto "$question"
ratio=$(jq -n --slurpfile dense "$work/dense.json" --slurpfile pruned "$work/pruned.json" \
  '$dense[0].ttft_ms / $pruned[0].ttft_ms * 100 | round / 100')
step "time to first token: ${ratio}x faster with pruning"
step "another question about the same document: $follow_up"
sleep 1 # blocks are written behind
ask warm --pruning auto "$follow_up"

if [ "$densify" != 0 ]; then
  third="What must be made clear to the users of a modified version?"
  step "idle time: the server runs the document densely"
  await_hot
  step "a third question about the document: $third"
  ask hot --pruning auto "$third"
  step "time to first token: $(jq -n --slurpfile dense "$work/dense.json" --slurpfile hot "$work/hot.json" \
    '$dense[0].ttft_ms / $hot[0].ttft_ms * 10 | round / 10')x faster than without pruning, with the dense model's answer"
fi

step "from http://$metrics/metrics"
curl -sf "http://$metrics/metrics" |
  grep -E '^slimfill_(time_to_first_token_seconds_(sum|count)|kv_prefix_hit_blocks_total|kv_transfer_bytes_total)' |
  sed 's/^/    /' || die "the metrics page does not answer"

jq -e '.pruned and (.text | length > 0)' "$work/pruned.json" >/dev/null || [ "$tokens" -lt 2048 ] ||
  die "the pruned request was not pruned, or has no answer"
if [ -n "$json" ]; then
  jq -n --slurpfile dense "$work/dense.json" --slurpfile pruned "$work/pruned.json" --slurpfile warm "$work/warm.json" \
    --slurpfile hot <(cat "$work/hot.json" 2>/dev/null || true) --argjson ratio "$ratio" '{dense: $dense[0], pruned: $pruned[0], warm: $warm[0], hot: $hot[0], ttft_ratio: $ratio}' >"$json"
  step "wrote $json"
fi
