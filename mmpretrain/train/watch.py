"""Every rank looks after the others: one that dies, fails or hangs ends all of them at once, and is named.

A thread on each rank says every second, through a store on the main rank, what its rank does. The main rank compares;
when a rank has been silent, has failed, or all have stood still for too long, it gives a verdict, and every rank prints
the stacks of its threads into the run's logs and ends. Nobody waits for a collective that cannot end.
"""

import contextlib
import faulthandler
import json
import multiprocessing
import os
import platform
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from mmpretrain.core.distributed import World, gather_objects
from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.phases import progress, read_phase

BEAT_SECONDS = 1.0
SILENCE_SECONDS = 7.0
"""A rank that has said nothing for so long is gone."""
VERDICT = "verdict"
LOST = ("Connection closed by peer", "Connection reset by peer", "Timed out waiting", "DistBackendError", "NCCL")


@dataclass
class Heard:
    """What the main rank knows of another."""

    beat: int = -1
    count: int = -1
    beat_at: float = 0.0
    progress_at: float = 0.0
    place: str = "load of step 0"


class Peer(NamedTuple):
    """A process that may be on this machine."""

    process: int
    machine: str


class Verdict(NamedTuple):
    """Why all ranks end."""

    text: str
    gone: list[int]
    """Ranks that may not hear of it."""


def machine() -> str:
    """Tells apart processes that may signal one another: the host, its start, and the space of process numbers."""
    parts = [platform.node()]
    for file in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        with contextlib.suppress(OSError):
            parts.append(os.readlink(file) if file.endswith("pid") else Path(file).read_text().strip())
    return " ".join(parts)


class Watch:
    """The thread of one rank.

    Args:
        peers: of all ranks.
        logs: folder for phases and stacks.
        patience: seconds without progress on any rank after which all end.
    """

    def __init__(self, world: World, store: TCPStore, peers: list[Peer], logs: Path, patience: float) -> None:
        self._world = world
        self._store = store
        self._peers = peers
        self._logs = logs
        self._patience = patience
        self._heard = [Heard(beat_at=time.monotonic(), progress_at=time.monotonic()) for _ in range(world.size)]
        self._beat = 0
        self._over = threading.Event()
        self._say()
        self._round_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._second = threading.Thread(target=self._run_second, name="watch's watch", daemon=True)

    def start(self) -> None:
        self._thread.start()
        if not self._world.is_main:
            self._second.start()

    def stop(self) -> None:
        """The run ended in good order."""
        self._over.set()
        self._thread.join(timeout=3 * BEAT_SECONDS)

    def fail(self, error: BaseException) -> None:
        """This rank has failed: tell the others, and wait for the verdict, which ends this process too."""
        with contextlib.suppress(Exception):
            # a broken connection is what a rank sees when another one has died: that one is to be named
            lost = is_connection_error(error)
            self._write_traceback(error, to_terminal=not lost and not isinstance(error, MmpretrainError))
            told = json.dumps({"place": str(progress), "error": f"{type(error).__name__}: {error}".splitlines()[0]})
            self._store.set(f"{'lost' if lost else 'failed'}/{self._world.rank}", told)
        time.sleep(SILENCE_SECONDS + 3 * BEAT_SECONDS)

    def _write_traceback(self, error: BaseException, to_terminal: bool) -> None:
        """Where an error came from; the stacks of this process no longer say it."""
        text = "".join(traceback.format_exception(error))
        with stacks_file(self._logs, self._world.rank).open("a") as file:
            file.write(text)
        if to_terminal:
            print(text, file=sys.stderr, flush=True)

    # -- the thread

    def _run(self) -> None:
        while self._goes_on():
            try:
                self._say()
                verdict = self._judge() if self._world.is_main else self._told()
            except Exception:  # the store is the main rank's: it has gone
                if self._over.is_set():
                    return
                verdict = Verdict(f"rank 0 {self._last(0)}", [0])
            if verdict:
                self._end(verdict)
            self._round_at = time.monotonic()

    def _run_second(self) -> None:
        """A call on the store of a main rank that was stopped, or whose machine is gone, does not come back."""
        while self._goes_on():
            if time.monotonic() - self._round_at > SILENCE_SECONDS:
                self._end(Verdict(f"rank 0 {self._last(0)}", [0]))

    def _goes_on(self) -> bool:
        """Wait for the next beat; False once the run is over.

        A wait that takes far longer says that this process itself stood still, as when a queue suspends a job: what it
        has not heard meanwhile is no silence.
        """
        began = time.monotonic()
        over = self._over.wait(BEAT_SECONDS)
        now = time.monotonic()
        if now - began > 3 * BEAT_SECONDS:
            self._round_at = now
            for heard in self._heard:
                heard.beat_at = heard.progress_at = now
        return not over

    def _say(self) -> None:
        self._beat += 1
        if progress.is_opaque:
            progress.tick()
        told = {"beat": self._beat, "count": progress.count, "place": str(progress)}
        self._store.set(f"beat/{self._world.rank}", json.dumps(told))

    def _read(self, key: str) -> Any:
        return json.loads(self._store.get(key)) if self._store.check([key]) else None

    def _told(self) -> Verdict | None:
        """The main rank's verdict, or the one over a main rank that no longer gives any."""
        found = self._read(VERDICT)
        if found:
            return Verdict(*found)
        return self._over_silent([0])

    def _judge(self) -> Verdict | None:
        """What is wrong with some rank; the main rank asks, and tells the others."""
        verdict = self._look()
        if verdict:
            self._store.set(VERDICT, json.dumps(verdict))
        return verdict

    def _look(self) -> Verdict | None:
        now = time.monotonic()
        for rank in range(self._world.size):
            failed = self._read(f"failed/{rank}")
            if failed:
                return Verdict(f"rank {rank} failed in {failed['place']}: {failed['error']}", [])
        if verdict := self._over_silent(range(self._world.size)):
            return verdict
        if all(now - heard.progress_at > self._patience for heard in self._heard):
            return Verdict(f"no progress for {self._patience:.0f} s: {self._places()}", [])
        return None

    def _over_silent(self, ranks: Sequence[int]) -> Verdict | None:
        """Hear ranks; a verdict where some have said nothing for too long."""
        now = time.monotonic()
        for rank in ranks:
            heard, told = self._heard[rank], self._read(f"beat/{rank}")
            if told["beat"] != heard.beat:
                heard.beat, heard.beat_at = told["beat"], now
            if told["count"] != heard.count:
                heard.count, heard.progress_at = told["count"], now
            heard.place = told["place"]
        silent = [rank for rank in ranks if now - self._heard[rank].beat_at > SILENCE_SECONDS]
        if not silent:
            return None
        return Verdict("; ".join(f"rank {rank} {self._last(rank)}" for rank in silent[:8]), silent)

    def _last(self, rank: int) -> str:
        # its file is newer than its last word, but not on another machine, from which it may not have come yet
        here = self._peers[rank].machine == self._peers[self._world.rank].machine
        place = (here and read_phase(phase_file(self._logs, rank))) or self._heard[rank].place
        return f"was killed or stands still in {place}"

    def _places(self) -> str:
        """Which ranks are where: those that do not wait, and differ from most, are the ones to look at."""
        by_place: dict[str, list[int]] = {}
        for rank, heard in enumerate(self._heard):
            by_place.setdefault(heard.place, []).append(rank)
        ordered = sorted(by_place.items(), key=lambda item: ("waiting" in item[0], len(item[1])))
        return "; ".join(f"rank{'s' * (len(ranks) > 1)} {spans(ranks)} in {place}" for place, ranks in ordered)

    def _end(self, verdict: Verdict) -> None:
        """Stacks into the logs, one line from the lowest rank that can speak, and the end of this process."""
        rank = self._world.rank
        with contextlib.suppress(OSError), stacks_file(self._logs, rank).open("a") as file:
            file.write(f"rank {rank}, {progress}: {verdict.text}\n")
            file.flush()
            faulthandler.dump_traceback(file, all_threads=True)
        speaker = next(each for each in range(self._world.size) if each not in verdict.gone)
        if rank == speaker:
            print(f"{verdict.text}; stacks of all ranks: {self._logs}", file=sys.stderr, flush=True)
        for gone in verdict.gone:
            self._kill(gone)
        for child in multiprocessing.active_children():
            child.kill()
        if self._world.is_main:
            time.sleep(2 * BEAT_SECONDS)  # the others read the verdict from this process
        os._exit(1)

    def _kill(self, gone: int) -> None:
        """A process that was stopped does not hear of the verdict; one on this machine can be ended from here."""
        if gone != self._world.rank and self._peers[gone].machine == self._peers[self._world.rank].machine:
            with contextlib.suppress(OSError):
                os.kill(self._peers[gone].process, signal.SIGKILL)


def is_connection_error(error: BaseException) -> bool:
    """Whether a collective failed because of another rank, as far as its message says: gloo's, or any of NCCL's."""
    text = f"{type(error).__name__}: {error}"
    return any(sign in text for sign in LOST)


def phase_file(logs: Path, rank: int) -> Path:
    return logs / f"rank_{rank:05d}.phase"


def stacks_file(logs: Path, rank: int) -> Path:
    return logs / f"rank_{rank:05d}.stacks"


def spans(ranks: list[int]) -> str:
    """0, 1, 2, 5 as "0-2, 5"."""
    parts: list[list[int]] = []
    for rank in ranks:
        if parts and rank == parts[-1][-1] + 1:
            parts[-1].append(rank)
        else:
            parts.append([rank])
    return ", ".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)


def open_store(world: World) -> TCPStore:
    """A store of its own, because calls on the process group's wait for one another."""
    host = os.environ.get("MASTER_ADDR", "127.0.0.1")
    open_at = partial(TCPStore, host, timeout=timedelta(seconds=SILENCE_SECONDS), wait_for_workers=False)
    if world.is_main:
        store = open_at(port=0, is_master=True)
        gather_objects(store.port)
        return store
    return open_at(port=gather_objects(0)[0], is_master=False)


@contextmanager
def watching(world: World, logs: Path, patience: float) -> Iterator[None]:
    """Look after the other ranks for the length of a block; nothing to do where there are none."""
    progress.keep_in(phase_file(logs, world.rank))
    if world.size == 1:
        try:
            yield
        finally:
            progress.keep_in(None)
        return
    store = open_store(world)
    watch = Watch(world, store, gather_objects(Peer(os.getpid(), machine())), logs, patience)
    gather_objects(None)  # every rank has spoken once before anyone listens
    watch.start()
    try:
        yield
    except MmpretrainError as error:
        if not error.on_every_rank:
            watch.fail(error)
        watch.stop()
        raise
    except Exception as error:
        watch.fail(error)
        raise
    else:
        gather_objects(None)  # nobody leaves while others still listen
        watch.stop()
    finally:
        progress.keep_in(None)
