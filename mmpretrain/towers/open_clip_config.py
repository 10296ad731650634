"""A model of open_clip in the words of our settings: its image tower, its text tower as `causal`, their space."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip

from mmpretrain.core.errors import ConfigError
from mmpretrain.towers.image_tower import NORMALISATIONS
from mmpretrain.towers.open_clip_image import OWN_SETTINGS
from mmpretrain.towers.open_clip_model import FAILURES, FOLDER, NAME, config_of

CLIP_IDS = 49_408
"""Of CLIP's vocabulary, the only one that models of open_clip bring along."""
TAKEN = ("context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio")
UNUSED = ("pad_id", "eos_id", "output_tokens", "hf_model_pretrained", "hf_proj_type", "hf_pooler_type")
"""Keys of text_cfg that say nothing of a tower as ours; all others have to be open_clip's defaults."""


def settings_of(given: str, setting: str) -> tuple[dict[str, Any], int]:
    """What stands under `towers` for a model, and its context length.

    Args:
        given: open_clip:ARCHITECTURE or local-dir:FOLDER.
        setting: that names the model, for messages.

    Raises:
        ConfigError: there is no such model, or it has what our towers have not.
    """
    config = config_of(given, setting)
    try:
        vision = asdict(open_clip.CLIPVisionCfg(**config["vision_cfg"]))
        text = asdict(open_clip.CLIPTextCfg(**config["text_cfg"]))
        if lacking := list(_lacking(config, text)):
            name = given.removeprefix(NAME) if given.startswith(NAME) else "ARCHITECTURE"
            raise ConfigError(
                f"{setting}: {given} has {', '.join(lacking)}, which our text tower has not; take its image tower "
                f"alone: towers.image={{kind: open_clip, name: {name}, weights: FILE}}"
            )
        towers = {
            "image": _image(given, config, vision, setting),
            "text": {
                "kind": "causal",
                **{key: text[key] for key in ("width", "layers", "heads")},
                "mlp": "quick_gelu" if config.get("quick_gelu") else "gelu",
                "mlp_width": int(text["width"] * text["mlp_ratio"]),
            },
            "embedding": config["embed_dim"],
        }
    except FAILURES as error:
        raise ConfigError(f"{setting}: {given}: its open_clip_config.json is no model's: {error}") from error
    return towers, text["context_length"]


def _lacking(config: dict[str, Any], text: dict[str, Any]) -> Iterator[str]:
    """What our text tower cannot be, as KEY=VALUE."""
    if "multimodal_cfg" in config:
        yield "multimodal_cfg (CoCa's decoder)"
    default = asdict(open_clip.CLIPTextCfg())
    for key, value in text.items():
        same = value == default[key] or not (value or default[key]) or (key, value) == ("norm_kwargs", {"eps": 1e-5})
        if not same and key not in (*TAKEN, *UNUSED):
            yield f"text_cfg.{key}={value}"
    if text["vocab_size"] != CLIP_IDS:
        yield f"text_cfg.vocab_size={text['vocab_size']}"


def _image(given: str, config: dict[str, Any], vision: dict[str, Any], setting: str) -> dict[str, Any]:
    size = vision["image_size"]
    if isinstance(size, list | tuple):
        if len(set(size)) != 1:
            raise ConfigError(f"{setting}: {given} looks at pictures of {size} px; ours are squares")
        size = size[0]
    if given.startswith(NAME):
        return {"kind": "open_clip", "name": given.removeprefix(NAME), "size": size}
    name, options = _nearest(config, vision)
    normalisation = _normalisation(given, setting)
    return {"kind": "open_clip", "name": name, "options": options, "size": size, "normalisation": normalisation}


def _nearest(config: dict[str, Any], vision: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The model by name that differs in fewest keys, and those keys: a folder may go, a name stays."""
    wanted, found = _described(config, vision), {}
    for name in open_clip.list_models():
        known = open_clip.get_model_config(name)
        there = _described(known, asdict(open_clip.CLIPVisionCfg(**known["vision_cfg"])))
        options = {key: value for key, value in wanted.items() if there[key] != value}
        found[name] = (len(options), known["text_cfg"] != config["text_cfg"], options)
    best = min(found, key=lambda name: found[name][:2])
    return best, found[best][2]


def _described(config: dict[str, Any], vision: dict[str, Any]) -> dict[str, Any]:
    """All that makes an image tower what it is, as JSON has it."""
    options = {key: list(value) if isinstance(value, tuple) else value for key, value in vision.items()}
    options = {key: value for key, value in options.items() if key not in OWN_SETTINGS}
    return {**options, "embed_dim": config["embed_dim"], "quick_gelu": bool(config.get("quick_gelu"))}


def _normalisation(given: str, setting: str) -> str:
    """By its name.

    Raises:
        ConfigError: the folder's has none.
    """
    file = Path(given.removeprefix(FOLDER)) / "open_clip_config.json"
    preprocess = json.loads(file.read_text(encoding="utf-8")).get("preprocess_cfg") or {}
    openai = NORMALISATIONS["openai"]
    found = tuple(tuple(preprocess.get(key) or default) for key, default in zip(("mean", "std"), openai, strict=True))
    name = next((name for name, known in NORMALISATIONS.items() if found == known), None)
    if name is None:
        raise ConfigError(
            f"{setting}: {given} normalises pixels by mean {found[0]} and deviation {found[1]}; ours are those of "
            f"{', '.join(NORMALISATIONS)}"
        )
    return name
