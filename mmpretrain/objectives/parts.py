"""The parts of what is trained, by name: what tables of parameters, operations and memory have in common."""

from torch import nn

from mmpretrain.objectives.combine import TrainingModule


def modules_of(module: TrainingModule) -> dict[str, list[nn.Module]]:
    """Modules of each part that there is; what several parts share belongs to the first."""
    model = module.model
    parts: dict[str, list[nn.Module | None]] = {
        "image": [model.image],
        "text": [model.text],
        "projections": [model.image_projection, model.text_projection, model.view_projection],
        "fusion": [model.image_pool, model.fusion],
        "decoder": [model.decoder, model.output],
        "objectives": list(module.objectives),
    }
    found = {name: [member for member in members if member is not None] for name, members in parts.items()}
    return {name: members for name, members in found.items() if members}


def parameters_of(module: TrainingModule) -> dict[str, int]:
    """How many each part has; one that has none is left out."""
    counted: dict[str, int] = {}
    seen: set[nn.Parameter] = set()  # a shared weight counts where it stands first
    for name, modules in modules_of(module).items():
        new = {p for each in modules for p in each.parameters()} - seen
        seen |= new
        if new:
            counted[name] = sum(p.numel() for p in new)
    return counted
