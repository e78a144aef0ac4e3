#!/bin/sh
# One node of the L2: a Redis or Valkey that takes its share of the slots and finds its peers by itself, whenever and in
# whatever order they start. A node that restarts is a new, empty one; its peers forget the old one.
#   L2_PEERS    hosts of all nodes, in the order of their shares
#   L2_INDEX    this node's place among them, from 0; by default the number at the end of the host's name
#   L2_MEMORY   maxmemory, as in 4gb
#   L2_CONF, L2_PASSWORD_FILE, L2_DIR, L2_PORT   l2.conf, a file with the password, a writable folder, the port
set -eu
index=${L2_INDEX:-${HOSTNAME##*-}}
port=${L2_PORT:-6379}
server=$(command -v valkey-server || command -v redis-server)
cli=$(command -v valkey-cli || command -v redis-cli)
REDISCLI_AUTH=$(cat "$L2_PASSWORD_FILE")
export REDISCLI_AUTH

address_of() {
  case "$1" in
    *[!0-9.]*) getent hosts "$1" | { read -r address _ && echo "$address"; } ;;
    *) echo "$1" ;;
  esac
}

count=0
for peer in $L2_PEERS; do
  if [ "$count" = "$index" ]; then me=$peer; fi
  count=$((count + 1))
done
until own=$(address_of "$me"); do sleep 1; done

umask 077
rm -f "$L2_DIR/nodes.conf"
{
  cat "$L2_CONF"
  echo "dir $L2_DIR"
  echo "port $port"
  echo "bind $own"
  echo "cluster-announce-ip $own"
  echo "maxmemory $L2_MEMORY"
  echo "requirepass \"$REDISCLI_AUTH\""
} >"$L2_DIR/node.conf"
"$server" "$L2_DIR/node.conf" &
pid=$!
trap 'kill -TERM "$pid"' TERM INT

ask() { "$cli" -h "$own" -p "$port" "$@" 2>/dev/null; }
until [ "$(ask PING)" = PONG ]; do
  kill -0 "$pid"
  sleep 1
done
ask CLUSTER ADDSLOTSRANGE $((16384 * index / count)) $((16384 * (index + 1) / count - 1)) >/dev/null

while kill -0 "$pid" 2>/dev/null; do
  nodes=$(ask CLUSTER NODES) || nodes=""
  echo "$nodes" | while read -r id _ flags _; do
    # Gone: it does not answer, or another node has taken its address.
    case ",$flags," in *,fail,* | *,noaddr,*) ask CLUSTER FORGET "$id" >/dev/null || true ;; esac
  done
  for peer in $L2_PEERS; do
    address=$(address_of "$peer") || continue
    case "$nodes" in *" $address:$port@"*) ;; *) ask CLUSTER MEET "$address" "$port" >/dev/null || true ;; esac
  done
  sleep "${L2_INTERVAL:-5}" &
  wait $! || true
done
wait "$pid"
