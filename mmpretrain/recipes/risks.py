"""Settings that are known to overfit small sets, or to forget what a run starts from: told before the first step."""

from mmpretrain.heads.adaptation import Full, Gradual
from mmpretrain.heads.base import Head
from mmpretrain.recipes.assemble import Parts

SMALL_SET = 2_000
"""Samples below which fine-tuning everything tends to learn them by heart (few-shot and VTAB-1k practice)."""
MANY_EPOCHS = 50
"""Times that a sample may be seen unchanged."""
HIGH_RATE = 1e-3
"""Peak rate of AdamW from which pretrained weights are soon forgotten."""


def risks_of(parts: Parts) -> list[str]:
    """One line for each; empty for runs without heads."""
    config = parts.config
    if not any(isinstance(each, Head) for each in config.objectives):
        return []
    samples = len(parts.data)
    told = []
    everything = isinstance(config.adaptation, Full | Gradual)
    learning = sum(p.numel() for name, p in parts.module.model.named_parameters() if p.requires_grad)
    if everything and samples < SMALL_SET and learning:
        told.append(
            f"{learning:,} parameters of the towers learn from {samples:,} samples, which overfits: try "
            "adaptation='{kind: probe}', last_k or lora, and look at the gap between train and val in the report"
        )
    epochs = config.train.steps * config.data.batch / max(1, samples)
    augmentation = config.data.augmentation
    unchanged = augmentation.crop == (1.0, 1.0) and not (augmentation.flip or augmentation.jitter)
    if unchanged and epochs > MANY_EPOCHS and config.towers.image:
        told.append(
            f"each sample is seen {epochs:.0f} times without any augmentation, which overfits: set "
            "data.augmentation.crop=[0.7, 1.0], or fewer train.steps with train.patience"
        )
    rate = config.optim.schedule.rate * getattr(config.adaptation, "rate", 0.0)
    if everything and parts.start.started and rate >= HIGH_RATE:
        told.append(
            f"a learning rate of {rate:g} soon forgets what the run starts from: set adaptation.rate=0.1, or a lower "
            "optim.schedule.rate"
        )
    return told
