#!/usr/bin/env bash
# DeepSpeed ZeRO on this machine: RANKS=2 STAGE=2 launch/deepspeed.sh CONFIG [a.b=c ...]
# Started by torchrun, which sets every variable that DeepSpeed needs; NODES, NODE and MASTER as in torchrun.sh.
set -euo pipefail
RANKS=${RANKS:-$(python -c 'import torch; print(torch.cuda.device_count() or 2)')}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(( ($(nproc) + RANKS - 1) / RANKS ))}
exec python -m torch.distributed.run --nnodes "${NODES:-1}" --node-rank "${NODE:-0}" --nproc-per-node "$RANKS" \
  --rdzv-backend c10d --rdzv-endpoint "${MASTER:-localhost:0}" \
  -m mmpretrain pretrain "$@" engine.kind=deepspeed engine.stage="${STAGE:-2}"
