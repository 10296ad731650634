"""What this machine has, and what a run here would lack."""

import importlib.metadata
import importlib.util
import json
import os
import shutil
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import mmpretrain
from mmpretrain.core.run import environment
from mmpretrain.data.card import CARD, ROOT
from mmpretrain.engines.base import product_type

EXTRAS = {
    "eval": ("sklearn", "matplotlib"),
    "export": ("onnx", "onnxruntime", "onnxscript"),
    "pack": ("pyarrow",),
    "search": ("faiss",),
    "serve": ("fastapi", "uvicorn", "python_multipart"),
    "track": ("tensorboard",),
    "shards": ("emoji", "resvg_py"),
    "dev": ("pytest", "hypothesis"),
}
VARIABLES = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "MASTER_ADDR",
    "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "DS_ACCELERATOR",
    "SLURM_JOB_ID",
    "HF_HUB_OFFLINE",
    "TMPDIR",
)


def doctor(console: Console, as_json: bool) -> int:
    """Print the facts; the exit code is 1 when something that every run needs is missing."""
    rows = checks()
    if as_json:
        facts = [{"name": name, "ok": ok, "found": found, "remedy": remedy} for name, ok, found, remedy in rows]
        console.print_json(json.dumps({"checks": facts, "environment": environment()}))
    else:
        shown = Table("", "what", "found", "remedy", title="mmpretrain doctor")
        for name, ok, found, remedy in rows:
            sign = {True: "[green]✓[/]", False: "[red]✗[/]", None: "–"}[ok]
            shown.add_row(sign, name, found, "" if ok else remedy)
        console.print(shown)
        console.print("next: mmpretrain quickstart")
    return 1 if any(ok is False for _, ok, _, _ in rows) else 0


def checks() -> list[tuple[str, bool | None, str, str]]:
    """(what, fine | missing | None: optional and absent, found, remedy)."""
    facts = environment()
    free = shutil.disk_usage(Path.cwd()).free
    has_bf16 = product_type("auto", torch.device("cpu")) == torch.bfloat16
    return [
        (
            "package",
            is_ours(),
            str(Path(mmpretrain.__file__).parent),
            "another 'mmpretrain' is installed: pip uninstall mmpretrain",
        ),
        *(
            (name, bool(version), version or "missing", "pip install -e .")
            for name, version in facts["packages"].items()
        ),
        ("processor", True, f"{facts['processor']}, {facts['cores']} cores", ""),
        ("GPU", torch.cuda.is_available() or None, gpu(), "not needed; gloo and the processor serve"),
        ("bf16", has_bf16 or None, "on this processor", "fp32 is used instead"),
        ("disk", free > 2e9, f"{free / 1e9:.0f} GB free here", "free 2 GB for checkpoints"),
        ("compiler", bool(shutil.which("g++")) or None, shutil.which("g++") or "none", "only torch.compile wants one"),
        *(
            (f"extra {name}", present(modules) or None, ", ".join(modules), f"pip install -e '.[{name}]'")
            for name, modules in EXTRAS.items()
        ),
        ("datasets", True, ", ".join(datasets()) or "none", ""),
        ("variables", True, ", ".join(f"{n}={os.environ[n]}" for n in VARIABLES if n in os.environ) or "none set", ""),
    ]


def is_ours() -> bool:
    """Package indexes know another project of this import name."""
    try:
        return importlib.metadata.version("multimodal-pretrain") == mmpretrain.__version__
    except importlib.metadata.PackageNotFoundError:
        return False


def gpu() -> str:
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"


def present(modules: tuple[str, ...]) -> bool:
    return all(importlib.util.find_spec(module) for module in modules)


def datasets() -> list[str]:
    roots = [ROOT, Path(__file__).parents[2] / ROOT]
    return sorted({card.parent.name for root in roots for card in root.glob(f"*/{CARD}")})
