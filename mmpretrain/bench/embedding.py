"""Row 13: vectors of pictures by `mmpretrain embed` against open_clip's loop in fp32; loading models does not count."""

import json
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmpretrain.bench.pairs import write_pairs
from mmpretrain.bench.peer import ask, call
from mmpretrain.bench.row import Goal, Ratio, Row
from mmpretrain.bench.trainer import VIT_B_32, VIT_S_32, Place
from mmpretrain.bench.turns import Turn, in_turns
from mmpretrain.bench.works import Asked
from mmpretrain.compression.quantize import Quantize, quantize
from mmpretrain.core.weights import load_tensors

PICTURES, SMALL, ROUNDS = 5000, 8, 2
"""Pictures of all rounds together, or of a round of a small one; rounds."""
BATCH = 64
"""What `embed` takes."""
KINDS = {"bf16": ("bf16 weights", 2.0), "int8": ("int8 ONNX", 3.0)}


def measure(asked: Asked) -> Iterator[Row]:
    """A row for each kind of numbers, from the same turns."""
    rounds = asked.turns(ROUNDS)
    kinds = [kind for kind in KINDS if asked.wants(f"13 {kind}")]
    with tempfile.TemporaryDirectory() as folder:
        race = Race(Path(folder), asked.small, (SMALL if asked.small else PICTURES) // rounds)
        contenders: dict[str, Turn] = {"theirs": race.theirs}
        contenders |= {kind: partial(race.ours, kind) for kind in kinds}
        seconds = in_turns(contenders, rounds, warm_up=0)
        for kind in kinds:
            yield Row(
                row=f"13 {kind}",
                work=f"vectors of {race.count} JPEGs of 512 x 384, {race.model.peer}, {KINDS[kind][0]}",
                peer="open_clip's loop in fp32",
                measure="times its pictures/s",
                ratio=Ratio.of(seconds["theirs"], seconds[kind]),
                goal=Goal(KINDS[kind][1]),
                rounds=rounds,
                difference=apart(race.found[kind], race.found["theirs"]),
                remarks=("ours reads files and writes its vectors to the disk, theirs reads a tar",),
            )


class Race:
    """One model as a run, as int8 ONNX files and as open_clip's; pictures."""

    def __init__(self, folder: Path, small: bool, count: int) -> None:
        self.folder, self.count = folder, count
        self.model = VIT_S_32 if small else VIT_B_32
        self.found: dict[str, Tensor] = {}
        start = Place(folder, self.model, 2, 1, 0)
        command, said = start.our_command("fp32", 1, start.data, "optim.schedule.rate=1e-30")
        call(command)
        self.models = {"bf16": said.parent, "int8": folder / "int8"}
        self.weights = start.weights
        (folder / "pictures").mkdir()
        self.tar = next(write_pairs(folder / "pictures", count).glob("*.tar"))
        self.files = folder / "files"
        with tarfile.open(self.tar) as tar:  # without their captions, which would be embedded as well
            tar.extractall(self.files, [each for each in tar if each.name.endswith(".jpg")], filter="data")
        exported = folder / "onnx"
        ours("export", str(said.parent), "--to", "onnx", "--out", str(exported), "--data", f"{start.data}:train")
        self.models["int8"].mkdir()
        quantize(Quantize(), exported, self.models["int8"], {})

    def ours(self, kind: str) -> float:
        """Seconds."""
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            out = Path(place) / "vectors"
            options = ["--precision", kind] if kind == "bf16" else []
            given = [str(self.models[kind]), "--data", str(self.files), "--out", str(out), "--json", *options]
            facts = json.loads(ours("embed", *given))
            self.found[kind] = torch.from_numpy(np.load(out / "img_emb" / "img_emb_0.npy")).float()
        return float(facts["seconds"])

    def theirs(self) -> float:
        """Seconds."""
        out = self.folder / "theirs.safetensors"
        said = ask("embed.py", self.model.peer, str(self.weights), str(self.tar), str(BATCH), str(out))
        self.found["theirs"] = load_tensors(out)["image_BE"]
        return float(said["seconds"])


def ours(*words: str) -> str:
    """What our command says."""
    return call([sys.executable, "-m", "mmpretrain", *words])


def apart(ours_BE: Tensor, theirs_BE: Tensor) -> str:
    """By how much vectors of the same pictures differ."""
    likeness_B = F.cosine_similarity(ours_BE, theirs_BE)
    return f"cosine to its vectors {likeness_B.mean():.4f}, the least {likeness_B.min():.4f}"
