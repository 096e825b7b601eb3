#!/usr/bin/env bash
# A search as a Ray job: it runs on the cluster's head and goes on when this terminal is closed.
#
#   scripts/cluster/submit_job.sh CONFIG [options of vipnas search]
#
# Assumes: a running cluster whose nodes have vipnas installed; its dashboard forwarded to this machine's loopback
# (`ray dashboard CLUSTER.yaml`, or ssh -L 8265:127.0.0.1:8265 HEAD); `pip install "ray[default]"` here; CONFIG's paths
# mean files on the head. WORKERS is how many there are at most: nodes that join later get theirs then.
set -euo pipefail

config=${1:?usage: submit_job.sh CONFIG [options]}
shift
exec ray job submit --address "${RAY_DASHBOARD:-http://127.0.0.1:8265}" --no-wait -- \
  vipnas search "$config" --ray-address auto --search.workers "${WORKERS:-16}" "$@"
