"""Toy data for all tests: small shards in the real format, and runs of the real recipes on them."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset
import yaml
from PIL import Image

torch.set_num_threads(1)

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 220), "grey": (120, 120, 120)}
SHAPES = ("square", "stripe", "frame", "dot")


def toy_picture(colour: str, shape: str, style: int, size: int = 16) -> bytes:
    """A coloured shape on white; `style` moves it a little."""
    pixels = np.full((size, size, 3), 255, dtype=np.uint8)
    low, high = 3 + style % 3, size - 3
    if shape == "square":
        pixels[low:high, low:high] = COLOURS[colour]
    elif shape == "stripe":
        pixels[low : low + 4] = COLOURS[colour]
    elif shape == "frame":
        pixels[low:high, low:high] = COLOURS[colour]
        pixels[low + 2 : high - 2, low + 2 : high - 2] = 255
    else:
        pixels[low + 2 : low + 6, low + 2 : low + 6] = COLOURS[colour]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def toy_samples(count: int, artist: str = "ada") -> list[dict]:
    """`count` samples as webdataset dictionaries."""
    samples = []
    for number in range(count):
        colour, shape = list(COLOURS)[number % 4], SHAPES[number // 4 % 4]
        facts = {"artist": artist, "concept": f"{colour} {shape}", "category": colour}
        samples.append(
            {
                "__key__": f"{artist}-{number:04d}",
                "png": toy_picture(colour, shape, number // 16),
                "txt": f"a {colour} {shape}".encode(),
                "json": json.dumps(facts).encode(),
            }
        )
    return samples


def write_tar(path: Path, samples: list[dict]) -> None:
    with webdataset.TarWriter(str(path), mtime=0, encoder=False) as tar:
        for sample in samples:
            tar.write(sample)


def write_card(folder: Path, splits: dict[str, tuple[list[str], int]], **more: object) -> None:
    card = {
        "title": "Coloured shapes",
        "image": "png",
        "text_group": "concept",
        "label": "category",
        "classes": list(COLOURS),
        "gallery": "artist",
        "splits": {name: {"shards": shards, "samples": count} for name, (shards, count) in splits.items()},
        **more,
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(card))


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 48 training samples in three uneven shards and 16 validation samples in one."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    folder.mkdir()
    samples = toy_samples(48)
    for number, part in enumerate((samples[:7], samples[7:30], samples[30:])):
        write_tar(folder / f"train-{number:05d}.tar", part)
    write_tar(folder / "val-00000.tar", toy_samples(13, "bob"))
    write_card(folder, {"train": (["train-{00000..00002}.tar"], 48), "val": (["val-00000.tar"], 13)})
    return folder


@pytest.fixture(scope="session")
def passages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of texts without pictures, each with the one that follows it."""
    from tests.texts import pack_topics  # brings scipy, which few tests need

    return pack_topics(tmp_path_factory.mktemp("texts"))


ConfigWriter = Callable[..., Path]


@pytest.fixture
def toy_config(tmp_path: Path, shapes: Path) -> ConfigWriter:
    """Writes a config of seconds: toy shapes, a tiny ResNet, six steps."""

    def write(name: str = "toy", **overrides: object) -> Path:
        tree: dict = {
            "run": {"folder": str(tmp_path / "runs" / name)},
            "data": {
                "name": str(shapes),
                "batch": 12,
                "workers": 0,
                "tokenizer": {"kind": "wordpiece", "context_length": 12, "vocabulary": 100},
                "augmentation": {"crop": [0.6, 1.0], "jitter": 0.2},
            },
            "towers": {
                "image": {"kind": "timm", "name": "test_resnet", "size": 32, "norm": "frozen"},
                "text": {"kind": "causal", "width": 16, "layers": 1, "heads": 2},
                "embedding": 16,
            },
            "objectives": [{"kind": "contrastive"}],
            "optim": {"schedule": {"rate": 0.001, "warmup": 2}},
            "engine": {"kind": "single", "precision": "fp32"},
            "train": {"steps": 6, "log_every": 2},
            "evaluation": [{"kind": "retrieval", "split": "val"}, {"kind": "zero_shot", "split": "val"}],
        }
        for path, value in overrides.items():
            node = tree
            *parents, last = path.split("__")
            for key in parents:
                node = node.setdefault(key, {})
            node[last] = value
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(tree))
        return path

    return write
