"""Captions of pictures that a person brings, as COCO's results file."""

import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from mmpretrain.core.counter import name_to_int
from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.core.precision import WeightPrecision
from mmpretrain.data.faults import BadSample
from mmpretrain.data.given import Given, given_pictures, image_ids, shown
from mmpretrain.data.images import ImageLimits, decode_image
from mmpretrain.data.stages import stack
from mmpretrain.data.transforms import Centre
from mmpretrain.heads.generation.base import Task, Written
from mmpretrain.heads.generation.write import Generation, write
from mmpretrain.recipes.alone import Alone, load_alone
from mmpretrain.recipes.combinations import refuse_mute
from mmpretrain.recipes.looks import Facts, plural, say
from mmpretrain.recipes.looks import write as write_file
from mmpretrain.recipes.prompt import prompt_ids, unseen_words, within_context
from mmpretrain.recipes.settings import read_run
from mmpretrain.recipes.ways import build_generation
from mmpretrain.recipes.written import until_end

NAMED = 20
"""Pictures left out that are named on the terminal; the file beside the captions names all."""


@dataclass
class Account:
    """What became of the pictures so far."""

    captions: list[dict[str, Any]] = field(default_factory=list)
    """As COCO's results have them: image_id and caption."""
    left_out: list[dict[str, str]] = field(default_factory=list)

    @property
    def reasons(self) -> dict[str, int]:
        return dict(Counter(each["reason"] for each in self.left_out).most_common())


def caption(
    folder: Path,
    paths: Sequence[Path],
    out: Path,
    way: str,
    chosen: dict[str, Any],
    rows: int,
    console: Console,
    precision: WeightPrecision = "fp32",
) -> Facts:
    """Write a caption of each picture; what could be written is kept, whatever else happens.

    Args:
        paths: pictures, and folders of them.
        way: greedy, beam or sample.
        chosen: its settings that differ from the defaults.
        rows: pictures at a time; in fp32 the captions do not depend on it.
        precision: of the weights.

    Raises:
        ConfigError: the run cannot write, or the settings do not fit.
        DataError: no picture could be captioned.
    """
    generation, config = build_generation(way, chosen), read_run(folder)
    try:
        refuse_mute(str(folder), config.objectives, generation)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    generation = within_context(generation, config.data.tokenizer.context_length)
    given, began = given_pictures(paths), time.perf_counter()
    alone = load_alone(folder, config, precision)
    prompt_ids(generation, alone.tokenizer)  # refused before an account of an earlier call goes
    for strange in unseen_words(generation, alone.tokenizer, alone.engine.module):
        say(console, f"note: {strange}")
    account = caption_given(alone, given, generation, rows, out, console)
    facts = {
        "run": str(folder),
        "step": alone.step,
        "way": way,
        "captioned": len(account.captions),
        "left_out": account.reasons,
        "out": str(out),
        "seconds": round(time.perf_counter() - began, 3),
    }
    tell(account, out, console)
    return facts


def caption_given(
    alone: Alone, given: Sequence[Given], generation: Generation, rows: int, out: Path, console: Console
) -> Account:
    """Caption all, and write what is there even if that ends early."""
    account = Account()
    try:
        caption_all(alone, given, generation, rows, account, console)
    finally:
        keep(out, account)
    return account


def caption_all(
    alone: Alone, given: Sequence[Given], generation: Generation, rows: int, account: Account, console: Console
) -> None:
    """Batch by batch, so that a folder of any size needs the memory of one."""
    ids = image_ids([each.name for each in given])
    pictures = track(
        zip(ids, given, strict=True), "writing", len(given), console=console, disable=not console.is_terminal
    )
    limits = shown(alone.config.data.limits.image)
    with alone.engine.evaluating():
        usable = usable_pictures(pictures, limits, alone.config.towers.size, account)
        while batch := list(itertools.islice(usable, rows)):
            written = write_about(alone, [image for _, _, image in batch], [key for _, key, _ in batch], generation)
            for (image_id, _, _), tokens_L in zip(batch, written.tokens_PL.cpu(), strict=True):
                account.captions.append({"image_id": image_id, "caption": until_end(alone.tokenizer, tokens_L)})


def write_about(alone: Alone, images: Sequence[Tensor], keys: Sequence[int], generation: Generation) -> Written:
    """Texts about pictures; use it inside `engine.evaluating()`.

    Args:
        keys: what is drawn for a picture hangs on its own, that of what it shows, and not on its neighbours.
    """
    (start, end), device = alone.tokenizer.ends, alone.engine.device
    prompt = prompt_ids(generation, alone.tokenizer)
    task = Task(start=start, end=end, positions_P=torch.tensor(keys).to(device), prompt=prompt)
    written: Written = alone.engine.forward("ask", write, stack(images).to(device), task, generation)
    return written


def usable_pictures(
    pictures: Iterator[tuple[int | str, Given]] | Any, limits: ImageLimits, size: int, account: Account
) -> Iterator[tuple[int | str, int, Tensor]]:
    """(image_id, key of the content, pixels) of all that can be decoded; the others go to the account."""
    transform = Centre(size)
    for image_id, (name, picture) in pictures:
        try:
            if isinstance(picture, BadSample):
                raise picture
            content = picture.read(limits.max_bytes)
            image = transform(decode_image(content, limits), 0)
        except BadSample as bad:
            account.left_out.append({"file": name, "reason": bad.reason, "detail": bad.detail})
        else:
            yield image_id, name_to_int(content), image


def beside(out: Path) -> Path:
    """Where it stands what was left out."""
    return out.with_name(f"{out.stem}.left_out.json")


def keep(out: Path, account: Account) -> None:
    """Both files; an old account of an earlier call goes."""
    if account.captions:
        write_file(out, json.dumps(account.captions, ensure_ascii=False, indent=0) + "\n")
    if account.left_out:
        write_file(beside(out), json.dumps(account.left_out, ensure_ascii=True, indent=0) + "\n")
    else:
        beside(out).unlink(missing_ok=True)


def tell(account: Account, out: Path, console: Console) -> None:
    """What is there.

    Raises:
        DataError: nothing.
    """
    for each in account.left_out[:NAMED]:
        say(console, f"left out {each['file']}: {each['reason']}: {each['detail']}")
    told = ", ".join(f"{reason} {count}" for reason, count in account.reasons.items())
    if not account.captions:
        raise DataError(f"no picture could be captioned: {told or 'none was named'}; {beside(out)} names all")
    more = f"; {plural(len(account.left_out), 'other')} left out ({told}), see {beside(out)}" if told else ""
    say(console, f"{out}: captions of {plural(len(account.captions), 'picture')}{more}")
