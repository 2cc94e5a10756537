#!/bin/bash
# slurm.sh up|down NAME PORT NODES CPUS GPUS [DIR]
#
# A whole Slurm cluster of its own on this machine, on 127.0.0.1 alone: munged, slurmctld, NODES times slurmd, slurmrestd.
# For trying things and for tests; it needs root. PORT is slurmctld's, PORT+1 slurmrestd's, PORT+11… the nodes'.
# DIR holds all it needs: slurm.conf, jwt.key, log/. Without it: /tmp/moyai-slurm/NAME.
#
#   CGROUP=1        track and bound jobs by cgroups (version 1): setsid children die too, too much memory is an OOM kill
#   ACCOUNTING=PORT also slurmdbd at PORT+9, with its MariaDB at 127.0.0.1:ACCOUNTING (user and password "slurm")
set -euo pipefail
unset SLURM_JWT SLURM_CONF # the first would change how the daemons authenticate
usage() { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ $# -ge 6 ] || { [ "${1:-}" = down ] && [ $# -ge 2 ]; } || usage
what=$1 name=$2 port=${3:-0} nodes=${4:-0} cpus=${5:-0} gpus=${6:-0} dir=${7:-/tmp/moyai-slurm/$2}
if [ "$what" = down ] && [ $# -lt 7 ] && [ $# -ge 3 ] && [[ $3 == /* ]]; then dir=$3; fi

packages() {
  local missing=() program
  for program in munged slurmctld slurmd slurmrestd sbatch; do
    command -v "$program" >/dev/null || missing+=("$program")
  done
  [ -e /usr/lib/*/slurm-wlm/auth_jwt.so ] || missing+=(auth_jwt.so)
  [ ${#missing[@]} = 0 ] && return
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      munge slurm-wlm slurm-wlm-basic-plugins slurm-wlm-jwt-plugin slurmrestd slurmdbd >&2
  else
    echo "slurm.sh: not here: ${missing[*]}; install munge, slurm-wlm with its jwt plugin, and slurmrestd" >&2
    exit 3
  fi
}

settings() {
  local memory=16000 i
  cat <<END
ClusterName=$name
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$port
SlurmUser=slurm
SlurmdUser=root
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/run/%n
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/%n.log
AuthType=auth/munge
AuthInfo=socket=$dir/munge/munge.sock
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key=$dir/jwt.key
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldParameters=enable_configless
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=50000,batch_sched_delay=0,bf_interval=2,default_queue_depth=1000
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=2
SlurmdTimeout=10
SlurmctldTimeout=10
ReturnToService=2
MaxJobCount=20000
InactiveLimit=0
MpiDefault=none
GresTypes=gpu
JobAcctGatherFrequency=5
END
  if [ -n "${CGROUP:-}" ]; then
    echo "ProctrackType=proctrack/cgroup"
    echo "TaskPlugin=task/cgroup"
    echo "JobAcctGatherType=jobacct_gather/cgroup"
  else
    echo "ProctrackType=proctrack/linuxproc"
    echo "TaskPlugin=task/none"
    echo "JobAcctGatherType=jobacct_gather/linux"
  fi
  if [ -n "${ACCOUNTING:-}" ]; then
    echo "AccountingStorageType=accounting_storage/slurmdbd"
    echo "AccountingStorageHost=127.0.0.1"
    echo "AccountingStoragePort=$((port + 9))"
    echo "AccountingStoragePass=$dir/munge/munge.sock"
    echo "AccountingStorageTRES=gres/gpu"
  else
    echo "AccountingStorageType=accounting_storage/none"
    echo "JobCompType=jobcomp/filetxt"
    echo "JobCompLoc=$dir/log/jobcomp.log"
  fi
  for ((i = 1; i <= nodes; i++)); do
    echo "NodeName=$name-n$i NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$((port + 10 + i))" \
      "CPUs=$cpus CoresPerSocket=$cpus Sockets=1 RealMemory=$memory Feature=local" \
      "$([ "$gpus" -gt 0 ] && echo "Gres=gpu:h100:$gpus")"
  done
  echo "PartitionName=batch Nodes=ALL Default=YES MaxTime=7-0 PriorityTier=1"
  echo "PartitionName=urgent Nodes=ALL MaxTime=7-0 PriorityTier=10"
}

database() {
  cat >"$dir/slurmdbd.conf" <<END
AuthType=auth/munge
AuthInfo=socket=$dir/munge/munge.sock
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key=$dir/jwt.key
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((port + 9))
SlurmUser=slurm
LogFile=$dir/log/slurmdbd.log
PidFile=$dir/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$ACCOUNTING
StorageUser=slurm
StoragePass=slurm
StorageLoc=acct_${name//-/_}
END
  chown slurm: "$dir/slurmdbd.conf"
  chmod 600 "$dir/slurmdbd.conf"
  SLURM_CONF=$dir/slurmdbd.conf slurmdbd
  for _ in $(seq 100); do (exec 3<>"/dev/tcp/127.0.0.1/$((port + 9))") 2>/dev/null && return; sleep 0.1; done
  echo "slurm.sh: slurmdbd does not listen; see $dir/log/slurmdbd.log" >&2
  exit 1
}

up() {
  [ "$(id -u)" = 0 ] || { echo "slurm.sh: slurmd and munged need root here" >&2; exit 3; }
  [ -z "$(ours)" ] || { echo "slurm.sh: the cluster in $dir is up already; end it first: $0 down $name $dir" >&2; exit 1; }
  packages
  mkdir -p "$dir"/{state,log,run,munge,dev}
  chmod 755 "$dir" "$dir/munge"
  [ -s "$dir/munge/key" ] || (umask 077 && head -c 1024 /dev/urandom >"$dir/munge/key")
  [ -s "$dir/jwt.key" ] || (umask 077 && head -c 32 /dev/urandom >"$dir/jwt.key")
  chown slurm: "$dir/jwt.key" "$dir"/{state,log,run}
  settings >"$dir/slurm.conf"
  rm -f "$dir/gres.conf"
  if [ "$gpus" -gt 0 ]; then # devices that are none: enough to be counted, and given out by number
    local i
    for ((i = 0; i < gpus; i++)); do [ -e "$dir/dev/gpu$i" ] || mknod -m 666 "$dir/dev/gpu$i" c 1 3; done
    echo "Name=gpu Type=h100 File=$dir/dev/gpu[0-$((gpus - 1))]" >"$dir/gres.conf"
  fi
  printf '%s\n' CgroupPlugin=cgroup/v1 CgroupMountpoint=/sys/fs/cgroup CgroupAutomount=no \
    ConstrainCores=no ConstrainRAMSpace=yes ConstrainSwapSpace=no ConstrainDevices=no >"$dir/cgroup.conf"
  export SLURM_CONF=$dir/slurm.conf
  munged --force --num-threads=4 --key-file="$dir/munge/key" --socket="$dir/munge/munge.sock" \
    --pid-file="$dir/munge/munged.pid" --log-file="$dir/munge/munged.log" --seed-file="$dir/munge/seed"
  [ -z "${ACCOUNTING:-}" ] || database
  slurmctld
  rest
  local i
  for ((i = 1; i <= nodes; i++)); do slurmd -N "$name-n$i"; done
  for _ in $(seq 300); do
    [ "$(sinfo -h -N -p batch -t idle -o %N 2>/dev/null | wc -l)" = "$nodes" ] && return
    sleep 0.05
  done
  echo "slurm.sh: the nodes of $name are not idle; see $dir/log" >&2
  sinfo >&2 || true
  exit 1
}

rest() { # slurmrestd wants to be neither root nor Slurm's own user
  local api=openapi/v0.0.38
  [ -z "${ACCOUNTING:-}" ] || api=$api,openapi/dbv0.0.38
  SLURM_JWT=daemon setsid setpriv --reuid=nobody --regid=nogroup --clear-groups \
    slurmrestd -a rest_auth/jwt -s "$api" -t 4 "127.0.0.1:$((port + 1))" \
    </dev/null >/dev/null 2>"$dir/log/slurmrestd.log" &
  echo $! >"$dir/run/slurmrestd.pid"
}

ours() { # the processes of this cluster that live
  local file pid
  for file in "$dir"/run/*.pid "$dir/munge/munged.pid"; do
    [ -s "$file" ] && pid=$(cat "$file") && [ -d "/proc/$pid" ] &&
      grep -qaE 'slurm|munge' "/proc/$pid/cmdline" && echo "$pid"
  done
  return 0
}

down() {
  [ -d "$dir/run" ] || return 0
  export SLURM_CONF=$dir/slurm.conf
  local jobs pids
  jobs=$(timeout 5 squeue -h -o %A 2>/dev/null || true)
  [ -z "$jobs" ] || timeout 5 scancel --signal=KILL --full $jobs 2>/dev/null || true
  [ -z "$jobs" ] || timeout 5 scancel $jobs 2>/dev/null || true
  for _ in $(seq 30); do [ -z "$(timeout 5 squeue -h 2>/dev/null)" ] && break; sleep 0.1; done
  pids=$(ours)
  [ -z "$pids" ] || kill $pids 2>/dev/null || true
  for _ in $(seq 50); do [ -z "$(ours)" ] && break; sleep 0.1; done
  pids=$(ours)
  [ -z "$pids" ] || kill -9 $pids 2>/dev/null || true
  local step
  for step in $(pgrep -f "slurmstepd: \[" || true); do # steps of this cluster that outlived their slurmd
    grep -qaz "SLURM_CONF=$dir/slurm.conf" "/proc/$step/environ" 2>/dev/null && kill -9 "$step" || true
  done
  rm -f "$dir"/run/*.pid
}

case $what in
up) up ;;
down) down ;;
*) usage ;;
esac
