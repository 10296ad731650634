"""What a run looks at: heat maps of pictures for texts, answers, classes and words that it writes."""

import base64
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.run import Run
from mmpretrain.data.dataset import Dataset
from mmpretrain.explain.build import method_named, suited
from mmpretrain.explain.heat import Explained, HeatMap, heat_map, heat_maps, maps_of, word_shares, worded
from mmpretrain.explain.overlay import legend_css, picture_png
from mmpretrain.explain.texts import Asked, ask, ways
from mmpretrain.heads.generation.base import Task
from mmpretrain.heads.generation.greedy import Greedy
from mmpretrain.heads.generation.write import write as write_texts
from mmpretrain.recipes.alone import Alone
from mmpretrain.recipes.answer import read_picture
from mmpretrain.recipes.explained_heads import ask_head
from mmpretrain.recipes.explaining import (
    captions_of,
    explained,
    load_run,
    open_for,
    others_among,
    others_of,
    samples_at,
    spread_over,
)
from mmpretrain.recipes.looks import Facts, plural, say, write
from mmpretrain.recipes.written import until_end
from mmpretrain.report.explained import render_explained

__all__ = ["Explained", "HeatMap", "explain", "explained", "heat_maps", "load_run", "others_of"]

GRID = 16
"""Cells a side of a map in JSON."""
LONGEST = 24
"""Tokens of a caption that is written to be explained."""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What a person wants to know."""

    texts: Sequence[str] = ()
    by: str = ""
    """similarity, match or caption; empty: the first that the run knows."""
    question: str = ""
    answer: str = ""
    """Empty: the likeliest."""
    label: str | None = None
    """A class of a head; empty: the likeliest; None: no class is asked for."""
    head: str = ""
    methods: Sequence[str] = ()
    """Empty: the one that suits what is asked."""
    words: bool = False
    """A map of each word too."""


def explain(
    folder: Path, pictures: Sequence[Path], asking: Asking, out: Path | None, data: str, count: int, console: Console
) -> Facts:
    """Write a page of heat maps: of pictures, or of some of a split with their captions, which the report shows too.

    Args:
        pictures: none: `count` of the split `data`, evenly spaced; empty: the run's val.
        out: the page; None: explained.html, or explained/ of the run folder where no pictures are given.

    Raises:
        ConfigError: the run cannot be asked this, or no method of that name suits it.
        DataError: a picture cannot be read.
    """
    began, place = time.perf_counter(), Run.open(folder)
    alone = load_run(folder)
    for name in asking.methods:
        method_named(name, alone.engine.module.model)  # a wrong name is told before anything is looked at
    if pictures:
        others, source = others_of(alone.config, console)
        asked = explained(alone, others)
        found = [
            look(alone, asked, str(path), read_picture(path, alone.config), asking, asking.texts) for path in pictures
        ]
    else:
        dataset = open_for(alone.config, data, console)
        source = f"{dataset.folder.name}:{dataset.split}"
        found = list(of_split(alone, asking, dataset, count))
    facts = {
        "run": str(folder),
        "step": alone.step,
        "against": source,
        "legend": legend_css(),
        "pictures": found,
        "seconds": round(time.perf_counter() - began, 3),
    }
    page = out or (Path("explained.html") if pictures else place.explained / "explained.html")
    write(page, render_explained(facts))
    if not pictures:
        write(place.explained / "pictures.json", json.dumps(facts, ensure_ascii=False))
    maps = sum(1 + len(each["words"]) for picture in found for one in picture["asked"] for each in one["maps"])
    say(console, f"{page}: {plural(maps, 'heat map')} of {plural(len(found), 'picture')}; open it in a browser")
    if not pictures:
        say(console, f"next: mmpretrain report {folder}")
    return without_pictures(facts, str(page))


def of_split(alone: Alone, asking: Asking, dataset: Dataset, count: int) -> Iterator[dict[str, Any]]:
    """Samples evenly spaced over a split, each asked about its own caption."""
    captions = captions_of(alone.config, dataset)
    asked = explained(alone, others_among(captions))
    for sample in samples_at(alone, dataset, spread_over(len(captions), count), captions):
        yield look(alone, asked, sample.key, sample.image_CHW, asking, asking.texts or [sample.caption])


def look(
    alone: Alone, asked: Explained, name: str, image_CHW: Tensor, asking: Asking, texts: Sequence[str]
) -> dict[str, Any]:
    """All that is asked about a picture."""
    found = [
        look_for_text(asked, image_CHW, text, asking) for text in texts_for(alone, asked, image_CHW, asking, texts)
    ]
    if asking.question or asking.label is not None:
        target = ask_head(alone, image_CHW, asking.question, asking.answer, asking.label, asking.head)
        methods = asking.methods or [suited(asked.model, target)]
        maps = [shown(method, [heat_map(asked, image_CHW, target, method)]) for method in methods]
        found.append({"text": target.name, "by": "head", "score": maps[0].pop("score"), "maps": maps, "shares": []})
        for each in maps[1:]:
            each.pop("score")
    return {"name": name, "picture": encoded(picture_png(image_CHW)), "asked": found}


def texts_for(alone: Alone, asked: Explained, image_CHW: Tensor, asking: Asking, texts: Sequence[str]) -> Sequence[str]:
    """The texts of a person; of a run that writes, what it writes.

    Raises:
        ConfigError: there is nothing to ask.
    """
    if texts or asking.question or asking.label is not None:
        return texts
    if "caption" not in ways(asked.module):
        raise ConfigError('--text: say what to look for, such as --text "red bird", or give --question or --label')
    start, end = alone.tokenizer.ends
    task = Task(start=start, end=end, positions_P=torch.zeros(1, dtype=torch.int64))
    longest = min(LONGEST, alone.tokenizer.context_length - 1)
    with torch.no_grad():
        written = write_texts(asked.module, image_CHW[None], task, Greedy(most_tokens=longest))
    return [until_end(alone.tokenizer, written.tokens_PL[0])]


def look_for_text(asked: Explained, image_CHW: Tensor, text: str, asking: Asking) -> dict[str, Any]:
    """The maps of a text by each method."""
    one: Asked = ask(asked.module, asked.tokenizer, text, asking.by, asked.others_KE)
    methods = asking.methods or [suited(asked.model, one.whole)]
    maps = [shown(method, maps_of(asked, image_CHW, one, method, asking.words)) for method in methods]
    scores = [each.pop("score") for each in maps]
    shares = []
    if one.by == "similarity":
        shares = worded(one, word_shares(asked, image_CHW, one))
    return {"text": text, "by": one.by, "score": scores[0], "maps": maps, "shares": shares}


def shown(method: str, maps: Sequence[HeatMap]) -> dict[str, Any]:
    """The maps of a method as a page shows them."""
    whole, *words = maps
    return {
        "method": method,
        "score": whole.score,
        "overlay": encoded(whole.overlay),
        "grid": grid(whole),
        "words": [
            {"word": each.text, "score": each.score, "overlay": encoded(each.overlay), "grid": grid(each)}
            for each in words
        ],
    }


def grid(found: HeatMap) -> list[list[float]]:
    """A map as few numbers: means of its cells, row by row."""
    cells_11HW = F.adaptive_avg_pool2d(torch.from_numpy(found.map_HW)[None, None], GRID)
    return [[round(value, 3) for value in row] for row in cells_11HW[0, 0].tolist()]


def encoded(png: bytes) -> str:
    return base64.b64encode(png).decode()


def without_pictures(facts: Any, page: str = "") -> Any:
    """The facts as programs want them: maps as numbers, no PNGs."""
    if isinstance(facts, dict):
        kept = {
            key: without_pictures(value) for key, value in facts.items() if key not in ("overlay", "picture", "legend")
        }
        return {**kept, "out": page} if page else kept
    return [without_pictures(value) for value in facts] if isinstance(facts, list) else facts
