#!/bin/bash
# Two Slurm clusters, a Ray cluster and a host site on this machine, as one Moyai.
#
#   up.sh [up]     start it all, and say how to go on; what is up already is left as it is
#   up.sh down     end it all and delete it
#   up.sh status   what is up
#
#   MOYAI_FEDERATION=DIR   where it lives; /tmp/moyai-federation if left out, and short, as sockets lie in it
#   PORT=N                 the first of the ports that it takes; 17000 if left out
#   MOYAI=FILE, RAY=FILE   the programs; else those on the PATH
# Without `ray` the site osaka is left out, and that is said.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
DIR=${MOYAI_FEDERATION:-/tmp/moyai-federation}
PORT=${PORT:-17000}
MOYAI=${MOYAI:-$(command -v moyai || echo "$HERE/../../.venv/bin/moyai")}
RAY=${RAY:-$(command -v ray || true)}
AGENTS=127.0.0.1:$((PORT + 400))
export MOYAI_DIR=$DIR/control

say() { echo "up.sh: $*" >&2; }
fail() { say "$*"; exit 1; }

port_of() { case $1 in ishikari) echo "$PORT" ;; tokyo) echo $((PORT + 100)) ;; osaka) echo $((PORT + 200)) ;; esac; }

engine_up() { # SITE: start its cluster, unless it is up
    pgrep -f -- "$DIR/(slurm|ray)-$1/" >/dev/null && return
    case $1 in
    ishikari | tokyo) "$HERE/slurm.sh" up "$1" "$(port_of "$1")" 2 4 2 "$DIR/slurm-$1" ;;
    osaka) RAY=$RAY NODES=2 "$HERE/ray.sh" up "$1" "$(port_of "$1")" 2 2 "$DIR/ray-$1" ;;
    esac
}

engine_down() {
    case $1 in
    ishikari | tokyo) "$HERE/slurm.sh" down "$1" "$(port_of "$1")" 2 4 2 "$DIR/slurm-$1" ;;
    osaka) NODES=2 "$HERE/ray.sh" down "$1" "$(port_of "$1")" 2 2 "$DIR/ray-$1" ;;
    esac
}

sites() { echo ishikari tokyo; [ -z "$RAY" ] || echo osaka; }

lives() { [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }

answers() { [ -e "$MOYAI_DIR/server.json" ]; } # asked by `moyai`, it would start a server of its own

join() { # SITE: a token, a certificate, and its agent in the background
    local site=$1 file=$DIR/$1.yaml place=$DIR/agents/$1
    sed -e "s|@DIR@|$DIR|g" -e "s|@PORT@|$(($(port_of "$site") + 1))|g" "$HERE/sites/$site.yaml" >"$file"
    if [ ! -d "$place" ]; then
        "$MOYAI" agent token "$site" 2>/dev/null |
            "$MOYAI" agent join --token - --site "$file" --control "https://$AGENTS" --dir "$place" >/dev/null
    fi
    lives "$DIR/$site.pid" && return
    setsid "$MOYAI" agent --site "$file" --control "https://$AGENTS" --dir "$place" >"$DIR/$site.out" 2>&1 </dev/null &
    echo $! >"$DIR/$site.pid"
}

up() {
    [ -x "$MOYAI" ] || fail "there is no program 'moyai': run 'make install', or set MOYAI"
    [ -n "$RAY" ] || say "there is no program 'ray', so the site osaka is left out; see ray.sh for how to get it"
    mkdir -p "$DIR" && chmod 711 "$DIR"
    for site in $(sites); do engine_up "$site" >"$DIR/$site.engine" 2>&1 || { cat "$DIR/$site.engine" >&2; exit 1; }; done
    mkdir -p "$MOYAI_DIR" && chmod 700 "$MOYAI_DIR"
    [ -d "$MOYAI_DIR/ca" ] || "$MOYAI" ca init >/dev/null
    if ! lives "$DIR/control.pid"; then
        setsid "$MOYAI" up --fleet "$HERE/fleet.yaml" --agents "$AGENTS" >"$DIR/control.out" 2>&1 </dev/null &
        echo $! >"$DIR/control.pid"
    fi
    for _ in $(seq 300); do answers && break; lives "$DIR/control.pid" || break; sleep 0.1; done
    answers || fail "the control plane didn't come up: $(tail -n 3 "$DIR/control.out")"
    for site in $(sites); do join "$site"; done
    for _ in $(seq 300); do
        [ "$("$MOYAI" sites --json | grep -c '"state": *"joined"')" -lt $(($(sites | wc -w) + 1)) ] || break
        sleep 0.1
    done
    "$MOYAI" sites
    echo
    echo "Go on with:  export MOYAI_DIR=$MOYAI_DIR"
    echo "             moyai run $HERE/survey.yaml"
    echo "             python $HERE/tour.py"
    echo "End it with: $0 down"
}

down() {
    for name in ishikari tokyo osaka control; do
        lives "$DIR/$name.pid" || continue
        kill "$(cat "$DIR/$name.pid")" 2>/dev/null || true
        for _ in $(seq 100); do lives "$DIR/$name.pid" || break; sleep 0.1; done
    done
    for site in ishikari tokyo osaka; do
        [ ! -d "$DIR/slurm-$site" ] && [ ! -d "$DIR/ray-$site" ] || engine_down "$site" || true
    done
    pkill -KILL -f -- "moyai.*$DIR/" 2>/dev/null || true # supervisors, and what ran under them
    rm -rf "$DIR"
}

status() {
    for name in control ishikari tokyo osaka; do
        lives "$DIR/$name.pid" && echo "$name: process $(cat "$DIR/$name.pid")" || echo "$name: not up"
    done
}

case ${1:-up} in up) up ;; down) down ;; status) status ;; *) sed -n '4,6s/^# *//p' "$0" >&2; exit 2 ;; esac
