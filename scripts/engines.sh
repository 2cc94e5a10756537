#!/bin/sh
# What the tests of real engines need: Debian's packages where this is root on a machine with apt, and Ray in .ray.
# What can't be had is said in one line each; the tests that need it are skipped, and say so too.
set -u
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin:/sbin"

missing() { # what is asked for here, and not there
    for program in "$@"; do command -v "$program" >/dev/null 2>&1 || printf '%s ' "$program"; done
}

packages() {
    gone=$(missing munged slurmctld slurmd slurmrestd sbatch sshd nft ip)
    ls /usr/lib/*/slurm-wlm/auth_jwt.so >/dev/null 2>&1 || gone="${gone}slurm-jwt "
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null 2>&1 || gone="${gone}postgresql "
    [ -z "$gone" ] && return
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "engines: not here, and not installed without root and apt: ${gone}– their tests are skipped" >&2
        return
    fi
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends munge slurm-wlm slurm-wlm-basic-plugins \
        slurm-wlm-jwt-plugin slurmrestd postgresql openssh-server openssh-client nftables iproute2 procps curl; } \
        >/dev/null 2>&1 || echo "engines: apt could not install all of: ${gone}– the tests of what is not there are skipped" >&2
}

ray() {
    [ -x .ray/bin/ray ] && return
    if [ -x .venv/bin/uv ]; then
        .venv/bin/uv venv -q --python .venv/bin/python .ray &&
            .venv/bin/uv pip install -q --python .ray/bin/python --compile-bytecode -c constraints-ray.txt 'ray[default]' && return
    fi
    rm -rf .ray
    echo "engines: Ray could not be installed in .ray; its tests are skipped" >&2
}

[ "${1:-}" = ray ] || packages
ray
