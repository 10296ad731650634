"""Some ranks of a script, for tests that want their tensors."""

import os
import signal
import subprocess
import sys
from pathlib import Path


def launch(script: Path, folder: str, timeout: float, ranks: int = 2) -> None:
    """Ranks on a free port; nothing of them is left behind, whatever happens."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks)]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", str(script), folder]
    # a compiler that fails: DeepSpeed must not try to build an extension
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CXX": "/bin/false", "TORCH_EXTENSIONS_DIR": f"{folder}/built"}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        environment.pop(name, None)
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert process.returncode == 0, output[-8000:]
