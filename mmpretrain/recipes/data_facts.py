"""What a report wants to know of data and model, written into the run folder so that it needs neither."""

import base64
import io
from collections import Counter
from typing import Any

from PIL import Image
from torch import nn
from torchvision.transforms.v2.functional import to_pil_image

from mmpretrain.core.settings import dump
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.samples import Sample
from mmpretrain.recipes.assemble import Parts

EXAMPLES = 24
THUMBNAIL = 64


def data_facts(parts: Parts, others: dict[str, Dataset]) -> dict[str, Any]:
    """Card, counts and a few pictures of the training split."""
    dataset, config = parts.data.datasets[0], parts.config
    samples = list(dataset.samples())
    words = Counter(len(sample.caption.split()) for sample in samples)
    classes = dataset.card.classes
    labels = Counter(classes[sample.label] for sample in samples if sample.label >= 0)
    step = max(1, len(samples) // EXAMPLES)
    return {
        "name": dataset.folder.name,
        "title": dataset.card.title,
        "description": dataset.card.description,
        "sources": [dump(source) for source in dataset.card.sources],
        "digest": dataset.digest,
        "splits": {name: split_facts(split) for name, split in {dataset.split: dataset, **others}.items()},
        "train_split": dataset.split,
        "epochs": config.train.steps * config.data.batch / len(dataset),
        "caption_words": {str(count): words[count] for count in sorted(words)},
        "galleries": dict(Counter(sample.gallery for sample in samples if sample.gallery)),
        "labels": {name: labels[name] for name in classes if labels[name]},
        "examples": [example(sample) for sample in samples[::step][:EXAMPLES]],
    }


def split_facts(dataset: Dataset) -> dict[str, Any]:
    return {
        "samples": len(dataset),
        "shards": len(dataset.shards),
        "bytes": dataset.bytes,
        "purpose": dataset.card.splits[dataset.split].purpose,
    }


def example(sample: Sample) -> dict[str, str]:
    """A sample as a report shows it."""
    image = to_pil_image(sample.image)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    picture = base64.b64encode(buffer.getvalue()).decode()
    return {"key": sample.key, "caption": sample.caption, "gallery": sample.gallery, "image": picture}


def model_facts(parts: Parts, steps: int) -> dict[str, Any]:
    """Parameters by part."""
    counted = parameter_counts(parts)
    return {
        "parameters": counted,
        "total": sum(counted.values()),
        "image_name": parts.config.towers.image.name,
        "steps": steps,
        "batch": parts.config.data.batch,
    }


def parameter_counts(parts: Parts) -> dict[str, int]:
    model = parts.module.model
    groups: dict[str, list[nn.Module]] = {
        "image": [model.image],
        "text": [model.text],
        "projections": [model.image_projection, model.text_projection],
        "objectives": [parts.module.objectives],
    }
    return {name: sum(p.numel() for m in modules for p in m.parameters()) for name, modules in groups.items()}
