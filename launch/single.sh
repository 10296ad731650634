#!/usr/bin/env bash
# One process: launch/single.sh CONFIG [a.b=c ...]
set -euo pipefail
exec python -m mmpretrain pretrain "$@" engine.kind=single
