"""Weights of a file into a trunk: where the file is, whose names it uses, what fits and what does not."""

from pathlib import Path

from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.installed import locate
from mmpretrain.core.settings import did_you_mean
from mmpretrain.core.weights import load_foreign
from mmpretrain.towers.image_tower import Adapter, State

SETTING = "towers.image.weights"
PREFIXES = ("", "model.image.trunk.", "image.trunk.", "trunk.", "visual.trunk.", "visual.", "backbone.", "encoder.")
"""Where an image encoder stands in files of whole models: our checkpoints, open_clip's, and others."""
BATCH_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def load_pretrained(trunk: nn.Module, given: str, adapter: Adapter) -> tuple[str, ...]:
    """Load a file into a trunk; returns what a person should know about it.

    Raises:
        ConfigError: there is no such file, or its tensors are not those of this trunk.
        MmpretrainError: the file is damaged or holds more than tensors.
    """
    path = locate(given, SETTING)
    state = _without_prefix(load_foreign(path), trunk)
    expected = trunk.state_dict()
    notes = [f"{SETTING}: {path.name}"]
    if not _fits(state, expected):
        before = state
        state = adapter.fit(trunk, state)
        resized = [name for name in state if name in before and state[name].shape != before[name].shape]
        if resized:
            notes.append(f"resized {', '.join(resized)}")
    dropped = _drop_classifier(state, expected, adapter.classifiers(trunk))
    if dropped:
        notes.append(f"left out {', '.join(dropped)}")
    for name, tensor in expected.items():
        if name.endswith("num_batches_tracked"):
            state.setdefault(name, tensor)  # older files do not count batches, and nothing here reads the count
    _refuse_misfits(state, expected, path)
    trunk.load_state_dict(state)
    return ("; ".join(notes),)


def resize_positions(state: State, name: str, expected: Tensor, prefix: int = 1) -> None:
    """Interpolate the position embedding `name` (ND or 1ND, `prefix` rows in front) to the expected number."""
    found = state.get(name)
    if found is None or found.shape == expected.shape or found.shape[-1] != expected.shape[-1]:
        return
    side = round((expected.shape[-2] - prefix) ** 0.5)
    rows = found if found.ndim == 3 else found[None]
    resized = resample_abs_pos_embed(rows, [side, side], num_prefix_tokens=prefix)
    state[name] = resized if found.ndim == 3 else resized[0]


def _without_prefix(state: State, trunk: nn.Module) -> State:
    """The tensors of the image encoder alone, when the file is of a whole model."""
    names = set(trunk.state_dict())
    counts = {prefix: sum(f"{prefix}{name}" in state for name in names) for prefix in PREFIXES}
    best = max(PREFIXES, key=lambda prefix: counts[prefix])
    if not counts[best]:
        return state
    return {name.removeprefix(best): tensor for name, tensor in state.items() if name.startswith(best)}


def _fits(state: State, expected: State) -> bool:
    return state.keys() == expected.keys() and all(state[name].shape == expected[name].shape for name in state)


def _drop_classifier(state: State, expected: State, classifiers: tuple[str, ...]) -> list[str]:
    """Take out what the trunk has no use for: classifiers, and statistics where GroupNorm stands."""
    unused = [name for name in state if name not in expected]
    heads = [name for name in unused if name.startswith(tuple(f"{head}." for head in classifiers))]
    norms = {name.rpartition(".")[0] for name in expected}
    statistics = [name for name in unused if name.endswith(BATCH_STATISTICS) and name.rpartition(".")[0] in norms]
    for name in (*heads, *statistics):
        del state[name]
    return [*heads, *(["the statistics of BatchNorm"] if statistics else [])]


def _refuse_misfits(state: State, expected: State, path: Path) -> None:
    """Nothing is loaded in part.

    Raises:
        ConfigError: how many tensors are missing, left over or of another shape, and the first of them.
    """
    missing = [name for name in expected if name not in state]
    unused = [name for name in state if name not in expected]
    shapes = [name for name in expected if name in state and state[name].shape != expected[name].shape]
    told = []
    if missing:
        near = did_you_mean(missing[0], unused) if unused else ""
        told.append(f"has no {missing[0]} ({len(missing)} of {len(expected)} tensors are missing{near[:60]})")
    if unused:
        told.append(f"has {unused[0]}, which the tower has not ({len(unused)} left over)")
    if shapes:
        name = shapes[0]
        found, wanted = tuple(state[name].shape), tuple(expected[name].shape)
        told.append(f"has {name} as {found} instead of {wanted} ({len(shapes)} of other shapes)")
    if told:
        raise ConfigError(f"{SETTING}: {path} {'; '.join(told)}")
