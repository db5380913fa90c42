#!/usr/bin/env bash
# Runs a search on all hosts of a Cloud TPU slice until it is done.
#
#   launch/tpu_vm.sh --name=mine --type=v5litepod-256 --zone=us-west4-a \
#     --share=10.0.0.2:/runs -- --flagfile=v5e_256 --data=enwik9
#
# What follows -- are flags of launch.search, the same on every host; paths
# among them are relative to the share, an NFS disk that outlives the slice.
# The slice is asked for as a queued resource, waited for, given the last commit
# of this checkout, and deleted in the end. A run that asks for it (exit code 42)
# is started again; a slice that was preempted is asked for anew. The same
# command again goes on with a slice that is there.
#
#   --name     of the queued resource and of its node
#   --type     of accelerator, such as v5litepod-8, v5p-128, v6e-256
#   --zone     of the slice and of the share
#   --share    HOST:/PATH, mounted on every host
#   --on-demand   instead of spot, which may be preempted
#   --keep     leaves the slice in the end
#   --dry-run  prints the lines of gcloud for a run without incidents
set -uo pipefail

readonly root=${BASH_SOURCE[0]%/*}/..
readonly again=42 bad=2 lost=255 # 255 is what ssh says.
readonly patience=600 most=5     # Seconds, and runs in a row that were shorter.

complain() {
  echo "error: $1" >&2
  exit "$bad"
}

say() { echo "$(date +%T) $*" >&2; }

name='' type='' zone='' share='' spot=--spot keep='' dry='' installed='' short=0
while (($#)); do
  case $1 in
    --name=* | --type=* | --zone=* | --share=*)
      option=${1%%=*}
      printf -v "${option#--}" %s "${1#*=}"
      ;;
    --on-demand) spot='' ;;
    --keep) keep=1 ;;
    --dry-run) dry=1 ;;
    --)
      shift
      break
      ;;
    *) complain "$1; expected an option as in $0, or -- before flags" ;;
  esac
  shift
done
[[ $name ]] || complain '--name is missing; expected a name for the slice'
[[ $zone ]] || complain '--zone is missing; expected one such as us-west4-a'
[[ $share == ?*:/* ]] ||
  complain "--share=$share; expected HOST:/PATH of a disk for all hosts"
case $type in
  v4-*) runtime=tpu-ubuntu2204-base ;;
  v5litepod-*) runtime=v2-alpha-tpuv5-lite ;;
  v5p-*) runtime=v2-alpha-tpuv5 ;;
  v6e-*) runtime=v2-alpha-tpuv6e ;;
  *) complain "--type=$type; expected v4-*, v5litepod-*, v5p-* or v6e-*" ;;
esac

folder=$(mktemp -d)
git -C "$root" archive --prefix=datapoint/ -o "$folder/datapoint.tar.gz" HEAD ||
  complain "$root has no commit; expected a checkout of the project"
# All at once, for none goes on without the others; no questions about keys.
hosts=("--zone=$zone" --worker=all --batch-size=all --quiet)

if [[ $dry ]]; then
  exec 3>&1
  gcloud() {
    {
      printf gcloud
      printf ' %q' "$@"
      echo
    } >&3
    if [[ $4 == describe && $installed == no ]]; then echo ACTIVE; fi
  }
  sleep() { :; }
fi

queue() { # Of verbs on the queued resource.
  gcloud compute tpus queued-resources "$1" "$name" --zone="$zone" "${@:2}"
}

everywhere() { # Runs a command on all hosts; fails as the first that does.
  gcloud compute tpus tpu-vm ssh "$name" "${hosts[@]}" --command="$1" </dev/null
}

state() { queue describe --format='value(state.state)' 2>/dev/null; }

create() {
  queue create --node-id="$name" --accelerator-type="$type" \
    --runtime-version="$runtime" ${spot:+"$spot"} || return
  installed=no
}

delete() { queue delete --force --quiet; }

await() { # Until the slice is there; asks for it where need be.
  local now before=none
  while true; do
    now=$(state)
    [[ $now != ACTIVE ]] || return 0
    [[ $now == "$before" ]] || say "$name is ${now:-not there}"
    before=$now
    case $now in
      '') create || return ;;
      FAILED) return 1 ;;
      SUSPENDING | SUSPENDED) delete ;; # It was preempted.
    esac
    sleep 30
  done
}

install() { # A Python of its own, with the project.
  [[ $installed != yes ]] || return 0
  gcloud compute tpus tpu-vm scp "$folder/datapoint.tar.gz" "$name:" \
    "${hosts[@]}" &&
    everywhere "$(setup)" &&
    installed=yes
}

setup() {
  cat <<END
set -e
sudo flock /var/lock/datapoint true
tar -xzf datapoint.tar.gz
curl -LsSf https://astral.sh/uv/install.sh | sh
~/.local/bin/uv venv --clear --python=3.11 venv
~/.local/bin/uv pip install --python=venv './datapoint[tpu]'
sudo apt-get install -y -q nfs-common
sudo mkdir -p /mnt/share
mountpoint -q /mnt/share || sudo mount -t nfs -o lookupcache=positive $(printf %q "$share") /mnt/share
END
}

# As root, whose files all hosts may write. A run whose connection was lost may
# still be there: the next one, and what it installs, waits for it. The port is
# one that Cloud TPU opens between the hosts of a slice on any network.
printf -v flags ' %q' "$@"
readonly run="cd /mnt/share && sudo JAX_COORDINATOR_PORT=8476 flock /var/lock/datapoint ~/venv/bin/python -m launch.search$flags"

finish() {
  rm -r "$folder"
  if [[ $keep ]]; then
    say "$name is kept: gcloud compute tpus queued-resources delete $name --zone=$zone --force"
  else
    delete
  fi
}

trap finish EXIT
while true; do
  began=$SECONDS
  if await && install; then
    code=0
    everywhere "$run" || code=$?
    case $code in
      0 | "$bad") exit "$code" ;;
      "$again" | "$lost") ;;
      *)
        # A slice that is being preempted may not say so at once.
        sleep 60
        [[ $(state) != ACTIVE ]] || exit "$code"
        ;;
    esac
  else
    code=1
    # Nothing has worked yet: what was asked for cannot be had.
    [[ $installed ]] || exit "$code"
    sleep 60
  fi
  short=$((SECONDS - began < patience ? short + 1 : 0))
  if ((short == most)); then
    say "$most runs in a row ended early, the last one with $code"
    exit "$code"
  fi
  say "exit code $code: once more"
done
