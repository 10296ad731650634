"""The loader against webdataset with Pillow and a map-style DataLoader: the same tars, the same cut, one core.

From JPEG in a tar to a batch of random crops of 224 x 224 in the training process, by one loader process: ours hands
over uint8, which the image tower normalises as its first step, the others normalised floats as open_clip trains with
them. What that step adds to ours on the processor is a contender of its own.
"""

import functools
import io
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
import yaml
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms
from torchvision.transforms import InterpolationMode, v2

from mmpretrain.bench.row import Ratio
from mmpretrain.bench.turns import Turn, in_turns, one_core
from mmpretrain.core.distributed import World
from mmpretrain.data.images import decode_image
from mmpretrain.data.loader import training_loader
from mmpretrain.data.samples import ShardReader
from mmpretrain.data.shards import open_index
from mmpretrain.data.tokenizer import Tokenizer, WordPieceTokenizer
from mmpretrain.data.training import Data, TrainingData
from mmpretrain.data.transforms import Augmentation
from mmpretrain.towers.image_tower import normalised

SIZE = 224
CROP = (0.9, 1.0)
SAMPLES = 192
BATCH = 64
WARM_UP, TIMED = 3, 8
"""Batches."""
SIZES = ((512, 384), (1024, 768))
QUALITY = 90
PAGODAS = itertools.repeat("a photo of a pagoda")
MEAN, STD = OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

Contender = Callable[[Path, Tokenizer], Iterator[Tensor]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One contender on one size of pictures."""

    size: str
    contender: str
    samples_per_s: float
    """Median over rounds, on one core."""
    ratio: float
    """This loader's throughput over the contender's, median over rounds of the ratio within a round."""
    low: float
    high: float
    difference: float
    """Mean absolute difference from the pixels of Pillow and torchvision with the same crops, in 255ths."""


def run(rounds: int) -> list[Row]:
    """Measure every contender on every size."""
    with tempfile.TemporaryDirectory() as folder, one_core():
        return [row for size in SIZES for row in measure(write_pictures(Path(folder), size), size, rounds)]


def measure(folder: Path, size: tuple[int, int], rounds: int) -> list[Row]:
    """Rounds of all contenders in turn."""
    found, mine = in_turns({name: turn(name, folder) for name in CONTENDERS}, rounds, warm_up=0), "this loader"
    differences = {name: pixel_difference(folder, decode) for name, decode in DECODERS.items()}
    rows = []
    for name, spent in found.items():
        ratio = Ratio.of(spent, found[mine])
        rows.append(
            Row(
                size=f"{size[0]} x {size[1]}",
                contender=name,
                samples_per_s=1 / statistics.median(spent),
                ratio=ratio.median,
                low=ratio.low,
                high=ratio.high,
                difference=differences.get(name.removesuffix(NORMALISED), 0.0),
            )
        )
    return rows


def turn(contender: str, folder: Path, warm_up: int = WARM_UP, timed: int = TIMED) -> Turn:
    """Seconds a sample of a contender by its name, of a loader that is started anew."""
    tokenizer = WordPieceTokenizer(context_length=16, vocabulary=200).build(["a photo of a pagoda"])
    return lambda: seconds_a_sample(CONTENDERS[contender](folder, tokenizer), warm_up, timed)


def seconds_a_sample(batches: Iterator[Tensor], warm_up: int, timed: int) -> float:
    """Once the loader has started: its process is always busy, because nobody here takes time for a batch."""
    for _ in range(warm_up):
        next(batches)
    began = time.perf_counter()
    count = sum(len(next(batches)) for _ in range(timed))
    return (time.perf_counter() - began) / count


def write_pictures(
    folder: Path, size: tuple[int, int], count: int = SAMPLES, captions: Iterator[str] = PAGODAS
) -> Path:
    """A dataset of JPEGs cut from scikit-learn's two photographs, no two alike."""
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    draw = np.random.default_rng(0)
    place = folder / f"{size[0]}x{size[1]}"
    place.mkdir()
    with webdataset.TarWriter(str(place / "00000.tar"), encoder=False, mtime=0) as tar:
        for number in range(count):
            photo = photos[number % len(photos)]
            width = int(draw.integers(photo.width // 2, photo.width + 1))
            height = min(width * size[1] // size[0], photo.height)
            left, top = (int(draw.integers(0, span + 1)) for span in (photo.width - width, photo.height - height))
            picture = photo.crop((left, top, left + width, top + height)).resize(size, Image.Resampling.BICUBIC)
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=QUALITY)
            tar.write({"__key__": f"{number:06d}", "jpg": buffer.getvalue(), "txt": next(captions).encode()})
    card = {"title": "photographs", "splits": {"train": {"shards": ["00000.tar"]}}}
    (place / "dataset.yaml").write_text(yaml.safe_dump(card))
    return place


# -- contenders -------------------------------------------------------------------------------------------


def ours(folder: Path, tokenizer: Tokenizer, decode: Any, normalise: bool = False) -> Iterator[Tensor]:
    """The training loader, and if it is asked for what the image tower does first."""
    data = Data(name=str(folder), batch=BATCH, workers=1, augmentation=Augmentation(crop=CROP), decode=decode)
    batches = training_loader(TrainingData(data), tokenizer, SIZE, World(), 1, 0)
    mean_C11, std_C11 = (255 * torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    pictures = (micro_batches[0].images_BCHW for micro_batches in batches)
    return (normalised(each_BCHW, mean_C11, std_C11) for each_BCHW in pictures) if normalise else pictures


def pillow_transform() -> Callable[[Image.Image], Tensor]:
    """What open_clip trains with: RGB, a crop with Pillow's resampling, floats, normalised."""
    crop = transforms.RandomResizedCrop(SIZE, scale=CROP, interpolation=InterpolationMode.BICUBIC)
    steps = [lambda image: image.convert("RGB"), crop, transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    transform: Callable[[Image.Image], Tensor] = transforms.Compose(steps)
    return transform


def stock_webdataset(folder: Path, tokenizer: Tokenizer) -> Iterator[Tensor]:
    """Webdataset's own pipeline, shuffled as open_clip does."""
    stream = (
        webdataset.WebDataset([str(folder / "00000.tar")], shardshuffle=False)
        .shuffle(BATCH)
        .decode("pil")
        .to_tuple("jpg", "txt")
        .map_tuple(pillow_transform(), lambda text: tokenizer([text])[0])
        .batched(BATCH)
        .repeat()
    )
    return (images for images, _ in DataLoader(stream, batch_size=None, num_workers=1))


class _Pictures(TorchDataset):
    """Pictures of a tar by their number."""

    def __init__(self, folder: Path, tokenizer: Tokenizer) -> None:
        self._index = open_index(folder / "00000.tar")
        self._reader = ShardReader()
        self._transform = pillow_transform()
        self._tokenizer = tokenizer

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        members = self._reader.read(self._index, number)
        tokens = self._tokenizer([members["txt"].decode()])[0]
        return self._transform(Image.open(io.BytesIO(members["jpg"]))), tokens


def map_style(folder: Path, tokenizer: Tokenizer) -> Iterator[Tensor]:
    """Torch's own way: a dataset with a length, shuffled by a sampler."""
    pictures = _Pictures(folder, tokenizer)
    endless = RandomSampler(pictures, replacement=True, num_samples=(WARM_UP + TIMED + 8) * BATCH)
    loader = DataLoader(pictures, batch_size=BATCH, sampler=endless, num_workers=1)
    return (images for images, _ in loader)


DECODERS = {"this loader": "full", "this loader, scaled decoding": "scaled"}
NORMALISED = ", normalised"
"""Behind the name of a contender: with what the image tower does first."""
CONTENDERS: dict[str, Contender] = {
    **{name: functools.partial(ours, decode=decode) for name, decode in DECODERS.items()},
    **{name + NORMALISED: functools.partial(ours, decode=decode, normalise=True) for name, decode in DECODERS.items()},
    "webdataset, Pillow, torchvision": stock_webdataset,
    "map-style DataLoader, Pillow, torchvision": map_style,
}


# -- pixels -----------------------------------------------------------------------------------------------


def pixel_difference(folder: Path, decode: str) -> float:
    """Mean absolute difference from Pillow's pixels under the same crops, in 255ths."""
    index, reader = open_index(folder / "00000.tar"), ShardReader()
    augment = Augmentation(crop=CROP).build(SIZE, 0)
    least = augment.least_side if decode == "scaled" else None
    found = []
    for number in range(0, len(index), 4):
        content = reader.read(index, number)["jpg"]
        ours = augment(decode_image(content, least_side=least), number).float()
        photo = Image.open(io.BytesIO(content))
        box = augment.box(photo.height, photo.width, number)
        cropped = v2.functional.resized_crop(photo, *box, [SIZE, SIZE], InterpolationMode.BICUBIC)
        found.append((ours - v2.functional.pil_to_tensor(cropped).float()).abs().mean())
    return float(torch.stack(found).mean())
