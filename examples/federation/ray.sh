#!/bin/bash
# A Ray cluster of its own on this machine's loopback, several side by side:
#
#   ray.sh up   NAME PORT [CPUS] [GPUS] [DIR]   one head with that many (made-up) CPUs and GPUs; prints its address
#   ray.sh down NAME PORT [CPUS] [GPUS] [DIR]   ends it and everything it runs
#
# PORT: the first of ten free ports; the dashboard, with the jobs API, is PORT+1. DIR: where it lives, with its token
# in DIR/token; /tmp/moyai-ray-NAME if left out, and short, as sockets lie in it.
#   RAY=FILE        the program `ray`; else the one on the PATH
#   NODES=N         nodes in all: N − 1 more beside the head, each with the same CPUs and GPUs and ten ports above it
#   RESOURCES=JSON  resources of its own kind on each node, such as '{"npu": 2}'
#   HEAD_CPUS=N     what the head itself has, where that isn't CPUS
#
# It never calls `ray stop`, which would end every Ray of this machine.
set -euo pipefail

usage() { sed -n '4,5s/^# *//p' "$0" >&2; exit 2; }
say() { echo "ray.sh: $*" >&2; exit 1; }

[ $# -ge 3 ] || usage
DO=$1 NAME=$2 PORT=$3 CPUS=${4:-4} GPUS=${5:-0} DIR=${6:-/tmp/moyai-ray-$2}
[[ $PORT =~ ^[0-9]+$ ]] || say "the port is '$PORT'; give a number"
NODES=${NODES:-1}
MARK="MOYAI_RAY_CLUSTER=$DIR" # every process of the cluster carries it, whatever it started itself
WAIT_S=90
# Ray takes a second node for one of another machine, and changes 127.0.0.1 to an address of this machine's network,
# where the head doesn't listen: this is `ray` without that.
SECOND='from ray._private import ray_constants, services
ray_constants.ENABLE_RAY_CLUSTER = True
services.resolve_ip_for_localhost = lambda host: host
from ray.scripts.scripts import main
main()'

ours() { { grep -lzxF "$MARK" /proc/[0-9]*/environ 2>/dev/null || true; } | cut -d/ -f3; }

down() {
    local pids
    pids=$(cat "$DIR"/pid.* 2>/dev/null || true)
    [ -z "$pids" ] || kill -TERM $pids 2>/dev/null || true
    for _ in $(seq 50); do
        [ -n "$(ours)" ] || break
        sleep 0.1
    done
    for _ in $(seq 50); do
        pids=$(ours)
        [ -n "$pids" ] || break
        kill -KILL $pids 2>/dev/null || true
        sleep 0.1
    done
    rm -f "$DIR"/pid.*
    rm -rf "$DIR/t"
}

node() { # INDEX: start node INDEX in the background; 0 is the head
    local at=$((PORT + 10 * $1)) cpus=$CPUS
    local program=("$RAY") words=(--block --node-ip-address=127.0.0.1 --num-gpus="$GPUS" --resources="${RESOURCES:-{\}}"
        --object-store-memory=$((100 << 20)) --node-manager-port=$((at + 2)) --object-manager-port=$((at + 3))
        --dashboard-agent-listen-port=$((at + 4)) --dashboard-agent-grpc-port=$((at + 5))
        --metrics-export-port=$((at + 6)) --runtime-env-agent-port=$((at + 7))
        --min-worker-port=0 --max-worker-port=0 --disable-usage-stats)
    if [ "$1" = 0 ]; then
        cpus=${HEAD_CPUS:-$CPUS}
        words+=(--head --port="$PORT" --dashboard-host=127.0.0.1 --dashboard-port=$((PORT + 1))
            --ray-client-server-port=$((PORT + 8)) --temp-dir="$DIR/t")
    else
        words+=(--address="127.0.0.1:$PORT")
        program=("$(dirname "$RAY")/python" -c "$SECOND")
    fi
    setsid env "$MARK" "${program[@]}" start "${words[@]}" --num-cpus="$cpus" >"$DIR/log.$1" 2>&1 </dev/null &
    echo $! >"$DIR/pid.$1"
}

answers() { # PATH: the answer of the head, "" for none
    curl -sf --max-time 5 -H "Authorization: Bearer $(cat "$DIR/token")" "http://127.0.0.1:$((PORT + 1))$1" || true
}

up() {
    RAY=${RAY:-$(command -v ray || true)}
    if [ ! -x "$RAY" ]; then
        say "there is no program 'ray'. Get it into an environment of its own:" \
            "python3 -m venv ~/ray && ~/ray/bin/pip install 'ray[default]'; then RAY=~/ray/bin/ray $0 …"
    fi
    command -v curl >/dev/null || say "there is no program 'curl'; install it"
    [ -z "$(ours)" ] || say "the cluster in $DIR is up already; end it first: $0 down $NAME $PORT - - $DIR"
    mkdir -p "$DIR" && chmod 700 "$DIR"
    [ -s "$DIR/token" ] || (umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$DIR/token")
    export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$DIR/token"
    export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 # else it listens on every interface, whatever address it is given
    export RAY_USAGE_STATS_ENABLED=0 RAY_DEDUP_LOGS=0
    PATH=$(dirname "$RAY"):$PATH # its workers run the `python` that stands beside it
    node 0
    for _ in $(seq $((WAIT_S * 10))); do
        [ -z "$(answers /api/version)" ] || break
        kill -0 "$(cat "$DIR/pid.0")" 2>/dev/null || break
        sleep 0.1
    done
    if [ -z "$(answers /api/version)" ]; then
        tail -n 5 "$DIR/log.0" >&2
        down
        say "the head didn't come up; see $DIR/log.0"
    fi
    for index in $(seq $((NODES - 1))); do node "$index"; done
    for _ in $(seq $((WAIT_S * 10))); do
        [ "$(answers '/api/v0/nodes?filter_keys=state&filter_predicates=%3D&filter_values=ALIVE' |
            grep -o '"node_id"' | wc -l)" -lt "$NODES" ] || break
        sleep 0.1
    done
    echo "http://127.0.0.1:$((PORT + 1))"
}

case $DO in up) up ;; down) down ;; *) usage ;; esac
