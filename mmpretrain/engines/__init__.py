"""Where the module runs: one process, DDP or DeepSpeed ZeRO, behind one contract."""
