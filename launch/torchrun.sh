#!/usr/bin/env bash
# DDP on this machine, one rank a GPU or RANKS ranks: RANKS=2 launch/torchrun.sh CONFIG [a.b=c ...]
# Several machines: set NODES, NODE and MASTER (host:port of the first) on each of them.
set -euo pipefail
RANKS=${RANKS:-$(python -c 'import torch; print(torch.cuda.device_count() or 2)')}
# ranks on one processor share its cores
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(( ($(nproc) + RANKS - 1) / RANKS ))}
exec python -m torch.distributed.run --nnodes "${NODES:-1}" --node-rank "${NODE:-0}" --nproc-per-node "$RANKS" \
  --signals-to-handle SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1 --shutdown-timeout 300 \
  --rdzv-backend c10d --rdzv-endpoint "${MASTER:-localhost:0}" \
  -m mmpretrain pretrain "$@" engine.kind=ddp
