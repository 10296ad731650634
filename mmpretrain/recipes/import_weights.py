"""Somebody else's weights as safetensors, with what they are and where they go."""

import json
import shutil
from pathlib import Path
from typing import Any

from rich.console import Console

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import folder_in_one_step, sha256
from mmpretrain.core.installed import locate
from mmpretrain.core.weights import load_foreign, save_tensors
from mmpretrain.recipes.looks import plural, say
from mmpretrain.towers.foreign import recognise

WEIGHTS, ACCOUNT = "model.safetensors", "import.json"
BESIDE = ("config.json", "tokenizer.json")
"""Files that say what weights of Hugging Face are."""


def import_weights(given: str, out: Path, console: Console) -> dict[str, Any]:
    """Write the tensors of a file into a folder, under their own names; settings take them from there.

    Args:
        given: a path, or package:NAME/FILE inside an installed Python package.

    Raises:
        ConfigError: there is no such file, nothing is known of what it holds, or `out` exists.
        MmpretrainError: it is damaged or holds more than tensors; nothing of it is run.
    """
    if out.exists():
        raise ConfigError(f"--out: {out} exists; name another folder")
    file = locate(given, "FILE")
    tensors = load_foreign(file)
    found = recognise(tensors, str(file))
    account = {
        "file": given,
        "sha256": sha256(file),
        "is": found.name,
        "tensors": len(tensors),
        "facts": found.facts,
        "left_over": found.left_over,
        "settings": [setting.format(file=out / WEIGHTS) for setting in found.settings],
    }
    with folder_in_one_step(out) as temporary:
        # copies: tensors of one file may share memory
        save_tensors(temporary / WEIGHTS, {name: tensor.clone() for name, tensor in tensors.items()})
        for name in BESIDE:
            if (beside := file.with_name(name)).is_file():
                shutil.copyfile(beside, temporary / name)
        (temporary / ACCOUNT).write_text(json.dumps(account, indent=2) + "\n", encoding="utf-8")
    tell(account, out, console)
    return {**account, "out": str(out)}


def tell(account: dict[str, Any], out: Path, console: Console) -> None:
    facts = ", ".join(f"{key} {value}" for key, value in account["facts"].items())
    say(console, f"{account['file']}: {account['is']}, {plural(account['tensors'], 'tensor')}; {facts}")
    if account["left_over"]:
        told = ", ".join(account["left_over"][:3])
        say(console, f"no place here for {plural(len(account['left_over']), 'part')}, such as {told}")
    for setting in account["settings"]:
        say(console, f"use it with: {setting}")
    say(console, f"{out / WEIGHTS}: safetensors; {out / ACCOUNT} has the same as JSON")
