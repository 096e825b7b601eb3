#!/usr/bin/env bash
# A search as a Ray job: it runs on the cluster's head and goes on when this terminal is closed.
#
#   scripts/cluster/submit_job.sh CONFIG [options of vipnas search]
#
# Assumes: a running cluster, on whose head the repository with its .venv is VIPNAS_DIR (~/vipnas, as both cluster files
# here have it); its dashboard forwarded to this machine's loopback (`ray dashboard CLUSTER.yaml`, or ssh -L
# 8265:127.0.0.1:8265 HEAD); `pip install "ray[default]"` here. CONFIG and the paths in it mean files on the head,
# relative ones from VIPNAS_DIR. WORKERS is how many there are at most: nodes that join later get theirs then.
set -euo pipefail

config=${1:?usage: submit_job.sh CONFIG [options]}
shift
folder=${VIPNAS_DIR:-'~/vipnas'}  # the head's shell knows its home, not this one
words=$(printf ' %q' search "$config" --ray-address auto --search.workers "${WORKERS:-16}" "$@")
exec "${RAY:-ray}" job submit --address "${RAY_DASHBOARD:-http://127.0.0.1:8265}" --no-wait -- \
  bash -c "cd ${folder} && exec .venv/bin/vipnas${words}"
