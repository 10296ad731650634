"""Decodes hostile pictures as a worker does and prints what came of it as one line of JSON: `COUNT SEED`."""

import json
import re
import sys
import time
from collections import Counter
from pathlib import Path

from mmpretrain.data.faults import BadSample
from mmpretrain.data.images import decode_image
from tests.data.hostile import pictures


def peak_kib() -> int:
    """Most memory of this process since the last reset; getrusage would also count the process that started it."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def main(count: int, seed: int) -> None:
    answers: Counter[str] = Counter()
    crashes, slowest, growth = [], 0.0, 0
    for number, (kind, content) in enumerate(pictures(count + 25, seed)):
        if number == 25:  # the first ones load decoders
            answers.clear()
        # making a bomb needs memory as well; what counts is the peak while it is decoded
        Path("/proc/self/clear_refs").write_text("5")
        before, began = peak_kib(), time.perf_counter()
        try:
            image = decode_image(content)
            answers["accepted"] += 1
            if image.shape[0] != 3:
                crashes.append(f"{kind}: {image.shape}")
            del image
        except BadSample as error:
            answers[error.reason] += 1
        except Exception as error:
            crashes.append(f"{kind} {number}: {type(error).__name__}: {error}")
        slowest = max(slowest, time.perf_counter() - began)
        if number >= 25:
            grown = peak_kib() - before
            growth = max(growth, grown)
            if grown > 16_384:
                print(f"{kind} {number}: {grown / 1024:.0f} MiB", file=sys.stderr)
    print(json.dumps({"answers": answers, "crashes": crashes, "growth_mib": growth / 1024, "slowest": slowest}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
