"""An exported folder at work: its image and text graphs behind onnxruntime."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import sha256
from mmpretrain.core.installed import require
from mmpretrain.data.images import ImageLimits
from mmpretrain.data.tokenizer import load_tokenizer
from mmpretrain.export.onnx_files import PREPROCESS, TOKENIZER
from mmpretrain.recipes.served.run import Prepared
from mmpretrain.serving.served import Ability, Answers, HeadFacts, Heat, Index, ModelFacts, Picture

GRAPHS = ("image.onnx", "text.onnx")
Row = tuple[Picture | None, str]


class ServedExport:
    """See `serving.served.Served`: vectors, labels and search; captions and answers are for runs."""

    def __init__(self, folder: Path, name: str, indexes: Mapping[str, Index]) -> None:
        import onnxruntime

        self._facts = json.loads((folder / PREPROCESS).read_text(encoding="utf-8"))
        self._tokenizer = load_tokenizer(folder / TOKENIZER, self._facts["context_length"])
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._sessions = {
            file.removesuffix(".onnx"): onnxruntime.InferenceSession(
                str(folder / file), options, providers=["CPUExecutionProvider"]
            )
            for file in GRAPHS
        }
        self._prepared = Prepared(ImageLimits(), self._facts["size"])
        self.indexes = indexes
        width = self.embed_texts(["a"]).shape[1]
        can: set[Ability] = {"embeddings", "labels"}
        if indexes:
            can.add("search")
        self.facts = ModelFacts(
            name=name,
            folder=str(folder),
            kind="onnx",
            step=report_of(folder).get("step"),
            digest=digest_of_files(folder),
            learned=("vectors of pictures and texts",),
            can=frozenset(can),
            size=self._facts["size"],
            width=width,
            context=self._tokenizer.context_length,
            more={"bytes": sum(file.stat().st_size for file in graph_files(folder))},
        )

    def prepare(self, content: bytes, max_pixels: int) -> Picture:
        return self._prepared.picture(content, max_pixels)

    def tokens(self, texts: Sequence[str]) -> int:
        return int(self._tokenizer(list(texts))[1].sum())

    def embed_pictures(self, pictures: Sequence[Picture]) -> np.ndarray:
        return self._run("image", "image_embedding", images=np.stack([picture.pixels_CHW for picture in pictures]))

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        tokens_BL, mask_BL = self._tokenizer(list(texts))
        return self._run("text", "text_embedding", tokens=tokens_BL.numpy(), mask=mask_BL.numpy())

    def scale(self) -> float:
        return float(self._facts["scale"])

    def writing(self, way: str, options: Mapping[str, Any], heads: Sequence[HeadFacts]) -> Any:
        raise ConfigError(f"{self.facts.name}: is an export, which writes nothing here; serve its run")

    def classify(self, head: str, rows: Sequence[Row]) -> np.ndarray:
        raise NotImplementedError  # `can` does not hold it

    def caption(self, pictures: Sequence[Picture], writing: Any) -> list[Answers]:
        raise NotImplementedError

    def answer(self, head: str, rows: Sequence[Row], writing: Any | None) -> list[Answers]:
        raise NotImplementedError

    def explain(self, picture: Picture, text: str, words: bool) -> list[Heat]:
        raise NotImplementedError

    def _run(self, graph: str, output: str, **inputs: np.ndarray) -> np.ndarray:
        return np.asarray(self._sessions[graph].run([output], inputs)[0])


def is_export(folder: Path) -> bool:
    return (folder / PREPROCESS).is_file()


def open_export(folder: Path, name: str, indexes: Mapping[str, Index]) -> ServedExport:
    """An ONNX folder of `mmpretrain export` or `mmpretrain compress`.

    Raises:
        ConfigError: a package, a graph or the scale of the vectors is missing, or a file is damaged.
    """
    require(["onnxruntime"], str(folder), "export")
    for file in (*GRAPHS, TOKENIZER):
        if not (folder / file).is_file():
            raise ConfigError(f"{folder}: has no {file}, so it gives no vectors of texts and pictures; serve its run")
    try:
        return ServedExport(folder, name, indexes)
    except (KeyError, ValueError) as error:
        raise ConfigError(f"{folder / PREPROCESS}: {error} is missing or damaged; export the run again") from None
    except Exception as error:  # onnxruntime's are of its own making
        said = " ".join(str(error).split())[:200]
        raise ConfigError(f"{folder}: onnxruntime cannot load it: {said}; export the run again") from None


def graph_files(folder: Path) -> list[Path]:
    """With what lies beside large ones."""
    return [file for graph in GRAPHS for file in sorted(folder.glob(f"{graph}*"))]


def digest_of_files(folder: Path) -> str:
    """Of all that decides what the vectors are."""
    parts = [sha256(file) for file in (*graph_files(folder), folder / PREPROCESS, folder / TOKENIZER)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


def report_of(folder: Path) -> dict[str, Any]:
    file = folder / "export_report.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found
