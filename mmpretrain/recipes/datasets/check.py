"""Everything that is wrong with a dataset, in one table."""

from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.core.settings import build
from mmpretrain.data.card import Card, find_dataset, load_card, shard_name
from mmpretrain.data.check import (
    APART,
    Problem,
    check_card,
    check_classes,
    check_keys,
    check_leaks,
    check_samples,
    open_shards,
)
from mmpretrain.data.fingerprints import Fingerprints, Work, require_imagehash
from mmpretrain.data.storage import Storage
from mmpretrain.recipes.looks import Facts, plural, read_fingerprints, say


def check(name: str, near: dict[str, int], workers: int, console: Console, storage: Storage | None = None) -> Facts:
    """Hold shards, indexes and card against each other, decode every sample, and look for leaks.

    Raises:
        DataError: there is no card that can be read.
    """
    folder = find_dataset(name)
    card = load_card(folder)
    shards, damaged = open_shards(folder, card, storage)
    work = [
        Work(card, split, shard_name(folder, shard.path), shard) for split, parts in shards.items() for shard in parts
    ]
    perceptual = bool(card.image) and can_hash(console)
    problems = [*check_card(folder, card, storage), *damaged, *check_keys(shards)]
    counts = {split: sum(map(len, parts)) for split, parts in shards.items()}
    if any(counts.values()):
        prints = read_fingerprints(work, workers, console, perceptual)
        problems += look_for_problems(card, prints, near if perceptual else None)
    errors = [problem for problem in problems if not problem.warning]
    facts: Facts = {
        "dataset": name,
        "folder": str(folder),
        "samples": counts,
        "pictures": bool(card.image),
        "questions": card.answers is not None,
        "near_looked_for": perceptual,
        "errors": len(errors),
        "warnings": len(problems) - len(errors),
        "problems": [asdict(problem) for problem in problems],
    }
    report(facts, errors, console)
    return facts


def can_hash(console: Console) -> bool:
    """Whether near-duplicates can be looked for; says so where not."""
    try:
        require_imagehash()
    except ConfigError as error:
        say(console, f"near-duplicates are not looked for: {error}")
        return False
    return True


def look_for_problems(card: Card, prints: Fingerprints, near: dict[str, int] | None) -> Iterator[Problem]:
    """What decoding every sample shows.

    Args:
        near: values of `Near`; None leaves near-duplicates out.
    """
    labels_N = None
    if near is not None:
        from mmpretrain.data.duplicates import Near, find_duplicates

        labels_N = find_duplicates(prints, build(Near, near, "near")).components()
    return chain(
        check_samples(prints),
        check_classes(card, prints),
        check_leaks(
            prints,
            labels_N,
            by_caption=card.text_group is None,
            pictures=bool(card.image),
            questions=card.answers is not None,
        ),
    )


def report(facts: Facts, errors: list[Problem], console: Console) -> None:
    """What is right in sentences, what is wrong in a table."""
    wrong = {problem.kind for problem in errors}
    if facts["problems"]:
        console.print(table(facts))
        tell_examples(facts["problems"], console)
    if not errors:
        for split, count in facts["samples"].items():
            say(console, f"{facts['folder']}:{split}: {plural(count, 'sample')}, checksums right, all decoded")
    if not any(kind.startswith("leak") for kind in wrong) and len(set(APART) & set(facts["samples"])) > 1:
        things = [name for name, told in (("picture", facts["pictures"]), ("text", not facts["questions"])) if told]
        shared = " and ".join(f"no {name}" for name in things or ["text"])
        say(console, f"{facts['folder']}: {shared} of train, val or test stands in another of them")
    found = f"{plural(facts['errors'], 'error')}, {plural(facts['warnings'], 'warning')}"
    step = f"mmpretrain data stats {facts['dataset']}" if not errors else "mend what the table names, then check again"
    say(console, f"{facts['folder']}: {found}. next: {step}")


def table(facts: Facts) -> Table:
    """Every problem, errors first."""
    shown = Table("problem", "where", "count", "what and what to do", title=f"{facts['dataset']}: check")
    shown.columns[2].justify = "right"
    for problem in sorted(facts["problems"], key=lambda problem: problem["warning"]):
        kind = f"{problem['kind']} (warning)" if problem["warning"] else problem["kind"]
        # shards, keys and errors come from anywhere: brackets in them are no markup
        shown.add_row(kind, escape(problem["where"]), f"{problem['count']:,}", escape(problem["detail"]))
    return shown


def tell_examples(problems: list[dict[str, Any]], console: Console) -> None:
    """The samples behind each problem, a line each."""
    for problem in filter(lambda problem: problem["examples"], problems):
        more = problem["count"] - len(problem["examples"])
        rest = [f"and {more:,} more"] if more > 0 else []
        say(console, f"{problem['kind']}, {problem['where']}: {'; '.join([*problem['examples'], *rest])}")


def refuse_problems(facts: Facts) -> None:
    """End with exit code 3 where anything is wrong.

    Raises:
        DataError: names every kind of problem and where it is.
    """
    told = [f"{p['kind']} in {p['where']} ({p['count']:,})" for p in facts["problems"] if not p["warning"]]
    if told:
        raise DataError(f"{facts['folder']}: {plural(len(told), 'problem')}: {'; '.join(told)}")
