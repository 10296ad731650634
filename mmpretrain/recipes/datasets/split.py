"""A leak-safe split of a dataset, written as new shards."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from mmpretrain.core.errors import DataError
from mmpretrain.core.settings import build
from mmpretrain.data.card import Card
from mmpretrain.data.duplicates import Near
from mmpretrain.data.fingerprints import Fingerprints, shards_of
from mmpretrain.data.rewrite import derived_card, new_folder, write_dataset
from mmpretrain.data.split import LINKS, REST, assign, linked
from mmpretrain.data.storage import Storage
from mmpretrain.recipes.looks import (
    Facts,
    hold_pictures,
    open_datasets,
    plural,
    read_fingerprints,
    say,
    say_damaged,
)


def split(
    name: str,
    out: str,
    shares: Mapping[str, float],
    seed: int,
    without: Sequence[str],
    near: dict[str, int],
    workers: int,
    console: Console,
    storage: Storage | None = None,
) -> Facts:
    """Split all samples of NAME anew and write them to OUT.

    Args:
        shares: of all samples, for val and test.
        without: links to leave out of account, of `LINKS`.

    Raises:
        DataError: groups are so large that a split stays empty.
    """
    folder = new_folder(out)
    datasets = open_datasets(name, storage, console)
    pictures = hold_pictures(datasets)
    prints = read_fingerprints(shards_of(datasets), workers, console, perceptual=pictures)
    grouped = datasets[0].card.text_group is not None  # else the group is the caption once more
    known = [link for link in LINKS if (grouped or link != "text_group") and (pictures or link != "near")]
    if captions_repeat(datasets[0].card, prints):
        without = [*without, "caption"]
    links = [link for link in known if link not in without]
    labels_N = linked(prints, build(Near, near, "near"), links)
    split_N = assign(labels_N, prints.bytes_N, shares, seed)
    facts: Facts = {
        "dataset": name,
        "out": str(folder),
        "seed": seed,
        "links": [*(["picture"] if pictures else []), *links],
        "samples": len(prints),
        "damaged": [fault._asdict() for fault in prints.faults],
        "splits": rows(split_N, labels_N, shares),
        "largest_group": largest(prints, labels_N),
    }
    refuse_empty(facts, shares)
    told = f"Split from {name} with seed {seed} so that no {', '.join(facts['links'])} stands in two splits."
    parts = {part: sources(prints, split_N == part) for part in (REST, *shares)}
    # what the old splits were for does not hold for the new ones
    write_dataset(folder, {**derived_card(datasets[0].folder, told), "splits": {}}, parts)
    console.print(table(facts))
    say_damaged(prints, console)
    held_out = 1 - facts["splits"][REST]["share"]
    say(console, f"{folder}: {100 * held_out:.1f} % held out, nothing shared. next: mmpretrain data check {folder}")
    return facts


def captions_repeat(card: Card, prints: Fingerprints) -> bool:
    """Whether captions say nothing of one picture alone: questions, and names of classes, stand beside many."""
    return bool(card.answers) or 0 < len(np.unique(prints.caption_N)) <= len(card.classes)


def sources(prints: Fingerprints, chosen_N: np.ndarray) -> list:
    """Where the chosen samples stand, in the order of the old shards."""
    return [
        (prints.shards[int(prints.shard_N[place])], int(prints.row_N[place]))
        for place in np.flatnonzero(chosen_N).tolist()
    ]


def rows(split_N: np.ndarray, labels_N: np.ndarray, shares: Mapping[str, float]) -> Facts:
    counts = Counter(split_N.tolist())
    return {
        part: {
            "samples": counts[part],
            "share": counts[part] / max(1, len(split_N)),
            "groups": len(set(labels_N[split_N == part].tolist())),
        }
        for part in (REST, *shares)
    }


def largest(prints: Fingerprints, labels_N: np.ndarray) -> Facts:
    """The group that links most samples: where a split goes wrong, this one says why."""
    if not len(labels_N):
        raise DataError("no sample of this dataset can be read; `mmpretrain data check` names what is wrong")
    label, size = Counter(labels_N.tolist()).most_common(1)[0]
    first = int(np.flatnonzero(labels_N == label)[0])
    return {"samples": size, "share": size / len(labels_N), "first": prints.name(first)._asdict()}


def refuse_empty(facts: Facts, shares: Mapping[str, float]) -> None:
    for part, share in shares.items():
        if share and not round(share * facts["samples"]):
            raise DataError(
                f"--{part} {share:g} of {plural(facts['samples'], 'sample')} is none; use --{part} 0 or more"
            )
    empty = [part for part, share in shares.items() if share and not facts["splits"][part]["samples"]]
    if empty:
        group = facts["largest_group"]
        raise DataError(
            f"{facts['dataset']}: nothing fits into {' and '.join(empty)}: the largest of the groups that must stay "
            f"together holds {100 * group['share']:.0f} % of the samples, {group['first']['key']} among them; link "
            f"less with --without caption (of {', '.join(LINKS)})"
        )


def table(facts: Facts) -> Table:
    """The new splits as a person reads them."""
    group = facts["largest_group"]
    shown = Table(
        "split",
        "samples",
        "share",
        "groups",
        title=f"{facts['out']}: split by {', '.join(facts['links'])}",
        caption=f"largest group: {plural(group['samples'], 'sample')} ({100 * group['share']:.1f} %)",
    )
    for column in shown.columns[1:]:
        column.justify = "right"
    for part, row in facts["splits"].items():
        shown.add_row(part, f"{row['samples']:,}", f"{100 * row['share']:.1f} %", f"{row['groups']:,}")
    return shown
