"""What a config takes over from that which its run starts from: towers and tokenizer, before anything is built."""

import contextlib
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.run import Run
from mmpretrain.core.settings import adapter, read_yaml
from mmpretrain.heads.build import LearnerSettings
from mmpretrain.recipes.starts.open_clip_origin import described
from mmpretrain.towers.open_clip_model import is_open_clip


class Taken(NamedTuple):
    """Parts of a config, as nested dictionaries."""

    towers: dict[str, Any]
    tokenizer: dict[str, Any]


def take_over(tree: dict[str, Any], folder: Any) -> None:
    """Give a config the towers and the tokenizer of its start; it keeps parts that the start has not.

    Parts of the start that no objective trains are left out.

    Args:
        folder: the run's own, which knows them too once it has begun: what it started from may be gone since.

    Raises:
        ConfigError: there is nothing to start from, or it has what our towers have not.
    """
    try:
        taken = given_by(tree["init"])
    except ConfigError:
        config = Run(Path(str(folder))).config
        begun = read_yaml(config) if config.is_file() else {}
        if begun.get("init") != tree["init"]:
            raise
        taken = Taken(begun["towers"], begun["data"]["tokenizer"])
    towers = {key: value for key, value in taken.towers.items() if value is not None}
    own = tree.get("towers") or {}
    kept = {"image", "text", "embedding", "tied", "image_queries"} | set(own)
    needed = needed_parts(tree.get("objectives") or [])
    for part in ("fusion", "decoder"):
        kept |= {part} if part in needed else set()
        towers = {key: value for key, value in towers.items() if key != part or part in needed}
    if "fusion" not in needed and isinstance(towers.get("decoder"), dict) and towers["decoder"]["shares"] == "fusion":
        # the weights that it shared are loaded into its own
        towers["decoder"] = {**towers["decoder"], "shares": "nothing", "own_attention": False}
    tree["towers"] = {**own, **{key: value for key, value in towers.items() if key in kept}}
    tree.setdefault("data", {})["tokenizer"] = taken.tokenizer


def given_by(init: str) -> Taken:
    """What a run or a model of open_clip says of itself.

    Raises:
        ConfigError: it is neither, or has what our towers have not.
    """
    if is_open_clip(init):
        towers, context_length = described(init)
        return Taken(towers, {"kind": "clip", "context_length": context_length})
    run = read_yaml(Run(run_of(init)).config)
    towers = dict(run["towers"])
    for part in ("image", "text"):  # without its weights files: its checkpoint has it all
        if isinstance(towers.get(part), dict):
            towers[part] = {**towers[part], "weights": None} if "weights" in towers[part] else towers[part]
    return Taken(towers, run["data"]["tokenizer"])


def run_of(init: str) -> Path:
    """The run folder of a start, which may be one of its checkpoints.

    Raises:
        ConfigError: it is none.
    """
    path = Path(init)
    folder = path.parent.parent if path.parent.name == "checkpoints" else path
    if not Run(folder).config.is_file():
        raise ConfigError(
            f"init: {init} is no run folder; give one, or RUN/checkpoints/step_XXXXXXXX, local-dir:FOLDER or "
            "open_clip:ARCHITECTURE=FILE"
        )
    return folder


def needed_parts(objectives: Sequence[Any]) -> Set[str]:
    """Parts of the model that some objective asks for; what cannot be read is complained of later."""
    found: set[str] = set()
    for each in objectives:
        with contextlib.suppress(ValidationError):
            found |= adapter(LearnerSettings).validate_python(each).needs
    return found
