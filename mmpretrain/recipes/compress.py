"""A run made smaller: one step after the other, a row each, a table and a page."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from mmpretrain.compression import wording
from mmpretrain.compression.page import write_page
from mmpretrain.compression.quantize import Quantize, require_onnxruntime
from mmpretrain.compression.steps import Compress
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import append_json_line, read_json_lines, sha256, write_atomic
from mmpretrain.core.run import environment
from mmpretrain.core.settings import apply_overrides, build, did_you_mean, dump, read_yaml
from mmpretrain.recipes.compressing.files import MADE_OF, PAGE, ROWS
from mmpretrain.recipes.compressing.scored import asked_of
from mmpretrain.recipes.compressing.steps import Bench, Row, bench_of, original_row, take
from mmpretrain.recipes.compressing.table import show
from mmpretrain.recipes.looks import say
from mmpretrain.recipes.opened import Opened, open_best
from mmpretrain.recipes.readme_table import put_table
from mmpretrain.recipes.settings import ROOT
from mmpretrain.report.compressed import mean_recall
from mmpretrain.report.folder import TABLE

DEFAULT = "int8"


def compress(
    folder: Path,
    config: str,
    out: Path,
    overrides: Sequence[str],
    console: Console,
    figures: Path | None = None,
    readme: Path | None = None,
) -> dict[str, Any]:
    """Take the steps of a config on a run, or those that are left of an earlier start of the same command.

    Args:
        config: a YAML file or a name under configs/compress.
        out: the folder that all steps leave theirs in.
        figures: a second file for the table, which a text refers to.
        readme: that text, whose table of the name of `figures` is made anew.

    Raises:
        ConfigError: no such config or run, nothing to do for a step, or `out` was made of something else.
        Interrupted: a signal ended a step that learns; the same command goes on.
    """
    settings = read_compress(config, overrides)
    if any(isinstance(step, Quantize) for step in settings.steps):
        require_onnxruntime()
    given = open_best(folder)
    asked = asked_of(given.config, settings.data)
    made_of = {"run": str(folder), "weights": digest_of(given), "config": dump(settings)}
    is_new = begin(out, made_of)
    try:
        bench = bench_of(settings, given, asked, out, console)
        rows = all_rows(bench)
    except BaseException:
        if is_new and not (out / ROWS).exists() and not any(out.glob("*-retrain")):
            shutil.rmtree(out, ignore_errors=True)
        raise
    facts = {**made_of, "split": asked.split, "environment": environment(), "rows": rows}
    for file in (out / TABLE, *([figures] if figures else [])):
        write_atomic(file, json.dumps(facts, indent=1) + "\n")
    write_page(out / PAGE, facts)
    if readme and figures:
        put_table(readme, figures.as_posix(), wording.markdown(rows))
    show(rows, asked.split, console)
    tell_end(out, rows, console)
    return {**facts, "out": str(out)}


def read_compress(given: str, overrides: Sequence[str]) -> Compress:
    """Raises ConfigError: no such config, or what is wrong with it."""
    named = [Path(given), *(root / "compress" / f"{given}.yaml" for root in (Path("configs"), ROOT))]
    path = next((each for each in named if each.is_file()), None)
    if path is None:
        known = sorted(each.stem for each in (ROOT / "compress").glob("*.yaml"))
        raise ConfigError(f"{given}: no such config{did_you_mean(Path(given).stem, known)}")
    return build(Compress, apply_overrides(read_yaml(path), overrides), str(path))


def digest_of(given: Opened) -> str:
    averaged = given.checkpoint / "ema.safetensors"
    return sha256(averaged if averaged.exists() else given.checkpoint / "weights.safetensors")


def begin(out: Path, made_of: dict[str, Any]) -> bool:
    """Make the folder; whether it is new.

    Raises:
        ConfigError: it holds something else.
    """
    if out.exists():
        if not goes_on(out, made_of):
            raise ConfigError(
                f"--out: {out} exists, and what is done there was not done by this command on these weights; name "
                "another"
            )
        write_atomic(out / MADE_OF, json.dumps(made_of, indent=1) + "\n")
        return False
    out.mkdir(parents=True)
    write_atomic(out / MADE_OF, json.dumps(made_of, indent=1) + "\n")
    return True


def goes_on(out: Path, made_of: dict[str, Any]) -> bool:
    """Whether all that is done in a folder is what this command would have done; steps behind it may be others."""
    try:
        before = json.loads((out / MADE_OF).read_text(encoding="utf-8"))
        done = max((row["step"] for row in read_json_lines(out / ROWS)), default=0)
        return up_to(before, done) == up_to(made_of, done)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def up_to(made_of: dict[str, Any], done: int) -> dict[str, Any]:
    """The same with the steps that are done alone."""
    return {**made_of, "config": {**made_of["config"], "steps": made_of["config"]["steps"][:done]}}


def all_rows(bench: Bench) -> list[Row]:
    """Those that are there, and those of the steps that are left; each is kept as soon as its step is done."""
    file = bench.out / ROWS
    rows = read_json_lines(file)
    if not rows:
        rows = [keep(file, {"step": 0, **original_row(bench)}, bench.console)]
    for number, step in enumerate(bench.config.steps, 1):
        found = [row for row in rows if row["step"] == number]
        if not found:
            start = bench.original.folder if step.start == "original" else start_of(rows, bench)
            say(bench.console, f"step {number} of {len(bench.config.steps)}: {step.kind} of {start}")
            # together: a step that was half measured is measured again
            found = [keep(file, row, bench.console) for row in list(take(step, number, start, bench))]
            rows += found
    return rows


def start_of(rows: Sequence[Row], bench: Bench) -> Path:
    """What the step before left."""
    return Path(rows[-1]["folder"]) if rows[-1]["step"] else bench.original.folder


def keep(file: Path, row: Row, console: Console) -> Row:
    append_json_line(file, row)
    times = f", {wording.beside(row)}" if "beside" in row else ""
    say(
        console,
        f"{row['name']}: {row['parameters'] / 1e6:.2f} M parameters, {row['bytes'] / 1e6:.2f} MB, R@10 "
        f"{wording.recalls(row, 10)} %{times}",
    )
    return row


def tell_end(out: Path, rows: Sequence[Row], console: Console) -> None:
    """Where the files are, the number that matters, and what is next."""
    first, last = rows[0], rows[-1]
    kept, of = mean_recall(last), mean_recall(first)
    score = f", {100 * kept / of:.1f} % of the R@10" if kept is not None and of else ""
    is_run = last["kind"] != "quantize"
    then = (
        f"mmpretrain evaluate {last['folder']} ..."
        if is_run
        else f'python {last["folder"]}/run_example.py photo.jpg --texts "a red square" "a dog"'
    )
    say(console, f"{out / PAGE}: {wording.times_smaller(last, first):.1f} times smaller{score}; next: {then}")
