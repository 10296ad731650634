"""What a run keeps of itself: metrics, checkpoints, results, and an account of what went wrong."""

import contextlib
import json
from collections.abc import Sequence
from typing import Any

from mmpretrain.core.batch import Batch
from mmpretrain.core.distributed import gather_objects, on_all, on_main
from mmpretrain.core.files import read_json_lines, write_atomic
from mmpretrain.core.memory import peak_bytes
from mmpretrain.core.phases import phase
from mmpretrain.core.run import Run
from mmpretrain.core.settings import digest, to_yaml
from mmpretrain.core.weights import Copies
from mmpretrain.data.ledger import Ledger
from mmpretrain.engines.base import Engine
from mmpretrain.recipes.assemble import Parts
from mmpretrain.recipes.best import is_better, value_of
from mmpretrain.recipes.chosen import read_best
from mmpretrain.recipes.evaluation import Evaluation
from mmpretrain.recipes.labels import LABELS
from mmpretrain.recipes.starts.start import FILE
from mmpretrain.track.feed import Add, numbers_of_result
from mmpretrain.train import checkpoint
from mmpretrain.train.loop import Guards, Hooks
from mmpretrain.train.metrics import Display
from mmpretrain.train.restarts import Restarts
from mmpretrain.train.saving import Saver
from mmpretrain.train.step import StepResult

MORE = 1.01
"""Times what was told before, from which a rank's most memory is told again."""


class Keeper:
    """The loop's hooks on this rank; all ranks call them in the same order."""

    def __init__(
        self,
        parts: Parts,
        engine: Engine,
        place: Run,
        evaluation: Evaluation,
        guards: Guards,
        display: Display,
        start: int,
        track: Add,
    ) -> None:
        self.step = start
        """Of the newest checkpoint, and so of the weights once training has ended."""
        self._parts = parts
        self._config = parts.config
        self._engine = engine
        self._place = place
        self._evaluation = evaluation
        self._guards = guards
        self._display = display
        train = self._config.train
        self.saver = Saver(
            place.checkpoints,
            train.keep_last,
            train.save_beside,
            self._not_written,
            self._written,
        )
        self._copies = Copies() if train.save_beside else None
        self._peaks: list[int] = []
        self._track = track
        self._best = on_main(lambda: read_best(place))
        self.saver.protected = [self._best["step"]] if self._best else []
        self._ledger = Ledger(self._config.data.breaker, self._config.data.batch)
        self._ledger.refill(on_main(lambda: read_json_lines(place.ledger)))
        self._texts = {
            "tokenizer.json": parts.tokenizer.to_json(),
            "config.yaml": to_yaml(self._config),
            "data.json": json.dumps(parts.data.digests(), indent=1),
        }
        if parts.labels:
            self._texts[LABELS] = json.dumps({name: kept.as_dict() for name, kept in parts.labels.items()})
        if parts.start.started:
            self._texts[FILE] = parts.start.to_json()
        if parts.text_teacher is not None:
            self._texts["teacher.json"] = json.dumps(parts.text_teacher.identity)

    def hooks(self) -> Hooks:
        config = self._config
        return Hooks(
            account=self._account,
            rate=lambda step: config.optim.schedule.at(step, config.train.steps),
            log=self._log,
            evaluate=self._evaluate,
            save=self._save,
            refused=self._refused,
            odd=lambda step, said: self._note("spike", step, said),
        )

    def _log(self, record: dict[str, Any]) -> None:
        peaks = gather_objects(peak_bytes(self._engine.device))
        if self._parts.world.is_main:
            line = {**record, "memory": max(peaks)}
            self._place.add_metrics(line)
            self._track(line["step"], line)
            self._keep_memory(peaks)

    def _keep_memory(self, peaks: list[int]) -> None:
        """The most that each rank has held, where it is noticeably more than what stands there."""
        if self._peaks and all(new < MORE * old for new, old in zip(peaks, self._peaks, strict=True)):
            return
        self._peaks = peaks
        device = self._engine.device.type
        with contextlib.suppress(OSError):  # no reason to stop
            write_atomic(self._place.memory, json.dumps({"device": device, "peaks": peaks}))

    def _note(self, kind: str, step: int, said: str = "") -> None:
        if self._parts.world.is_main:
            self._place.add_event(kind, step, said)

    def _written(self, step: int) -> None:
        """A checkpoint is on the disk; on the main rank, maybe in a thread of its own."""
        Restarts(self._place.restarts).progressed()
        self._note("saved", step)

    def _not_written(self, step: int, said: str) -> None:
        self._note("not_saved", step, said)
        self._display.say(said)

    def _save(self, step: int, now: bool) -> None:
        self.step = step
        state = {
            "position": step * self._config.data.batch,
            "config_digest": digest(self._config),
            "guards": self._guards.state(),
        }
        self.saver.finish()  # its copies are written over
        self.saver.save(checkpoint.take(self._engine, step, state, self._texts, self._copies), now)

    def _evaluate(self, step: int) -> bool:
        self._keep_best(step, self._evaluation.run(self._engine, step, self._display))
        return self.is_enough(step)

    def is_enough(self, step: int) -> bool:
        """Whether the last evaluations brought nothing better, as many as train.patience says."""
        train = self._config.train
        if train.patience is None or train.evaluate_every is None or self._best is None:
            return False
        return step - int(self._best["step"]) >= train.patience * train.evaluate_every

    def evaluate_again(self, step: int) -> bool:
        """At a step that a run resumes from, which may have ended there; as `_evaluate`."""
        train = self._config.train
        if train.patience is None or not step or train.evaluate_every is None or step % train.evaluate_every:
            return False
        with phase("evaluate"):
            return self._evaluate(step)

    def evaluate_last(self) -> None:
        """After the last step, with examples for the report; of the best checkpoint where the run could end early."""
        step = self.step
        with phase("evaluate"):
            if self._config.train.patience is not None and self._best is not None:
                step = int(self._best["step"])
                found = on_all(lambda: checkpoint.load(self._place.checkpoints / f"step_{step:08d}"))
                self._engine.load(found.weights, None, found.average)
            self._keep_best(step, self._evaluation.run(self._engine, step, self._display, with_examples=True))

    def _keep_best(self, step: int, records: Sequence[dict[str, Any]]) -> None:
        for record in records:
            self._track(step, numbers_of_result(record, self._parts.data.datasets[0].folder.name))
        wanted = self._config.train.keep_best
        if not wanted:
            return
        value = value_of(records, wanted)
        better = self._best is None or is_better(wanted, value, self._best["value"])
        # a full disk may have cost the checkpoint; then the one before stays the best
        if better and self.saver.has(step):
            self._best = {"metric": wanted, "value": value, "step": step}
            self._note("best", step, f"{wanted} {value:.4g}")
            self.saver.protected = [step]
            on_main(self._note_best)

    def _note_best(self) -> None:
        try:
            write_atomic(self._place.best, json.dumps(self._best))
        except OSError as error:
            self._display.say(f"{self._place.best}: not written, so that a restart will not know it: {error}")

    def _account(self, step: int, micro_batches: Sequence[Batch]) -> None:
        mine = [fault for batch in micro_batches for fault in batch.faults]
        records = self._ledger.account(step, [fault for part in gather_objects(mine) for fault in part])
        if self._parts.world.is_main:
            for record in records:
                self._place.add_fault(record)
        self._ledger.check()

    def _refused(self, step: int, result: StepResult) -> None:
        if self._parts.world.is_main:
            self._place.add_skip({"step": step, "reason": result.refused, "keys": list(result.suspects)})
