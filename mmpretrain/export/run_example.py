"""Pictures and texts through the ONNX files beside this script: similarities, and captions where there is a decoder.

    python run_example.py photo.jpg drawing.png --texts "a red square" "a dog"

Needs onnxruntime, numpy, pillow and tokenizers, and nothing else.
"""

import argparse
import html
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps
from tokenizers import Tokenizer

Arrays = dict[str, np.ndarray]


class Exported:
    """The files of a folder."""

    def __init__(self, folder: Path) -> None:
        self.facts: dict[str, Any] = json.loads((folder / "preprocess.json").read_text(encoding="utf-8"))
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.sessions = {
            file.stem: onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
            for file in sorted(folder.glob("*.onnx"))
        }

    def run(self, name: str, inputs: Arrays) -> Arrays:
        """The outputs of NAME.onnx by their names."""
        session = self.sessions[name]
        return dict(zip((each.name for each in session.get_outputs()), session.run(None, inputs), strict=True))

    def prepare(self, picture: Image.Image) -> np.ndarray:
        """uint8, 3 x size x size: upright, over white, the shorter side to size, then the centre."""
        size = self.facts["size"]
        picture = ImageOps.exif_transpose(picture)
        if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
        picture = picture.convert("RGB")
        shorter = min(picture.size)
        width, height = (int(size * side / shorter) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        left, top = round((width - size) / 2), round((height - size) / 2)
        return np.asarray(picture.crop((left, top, left + size, top + size))).transpose(2, 0, 1)

    def tokenize(self, texts: list[str]) -> Arrays:
        """Token ids with start and end, and True where they stand; training also mended broken encodings (ftfy)."""
        cleaned = [" ".join(html.unescape(html.unescape(text)).split()) for text in texts]
        rows = [self.cut(each) for each in self.tokenizer.encode_batch(cleaned)]
        length = max(len(row) for row in rows)
        tokens = np.array([row + [0] * (length - len(row)) for row in rows], dtype=np.int64)
        return {"tokens": tokens, "mask": np.array([[place < len(row) for place in range(length)] for row in rows])}

    def cut(self, encoding: Any) -> list[int]:
        """The ids of a text; one that is too long ends behind a whole word where training cut it so."""
        ids: list[int] = encoding.ids
        if not self.facts["whole_words"] or not encoding.overflowing:
            return ids
        words, torn = encoding.word_ids, encoding.overflowing[0].word_ids[1]
        first = words.index(torn) if words[-2] == torn else len(ids) - 1
        return [*ids[:first], ids[-1]] if first > 1 else ids

    def write(self, image_tokens: np.ndarray) -> np.ndarray:
        """Ids of a caption of each picture, the likeliest next word again and again; end tokens behind it."""
        facts, memory = self.facts, {"image_tokens": image_tokens}
        last = np.full(len(image_tokens), facts["start"], dtype=np.int64)
        written = np.full((len(image_tokens), facts["most_tokens"]), facts["end"], dtype=np.int64)
        ended = np.zeros(len(image_tokens), dtype=bool)
        for place in range(facts["most_tokens"]):
            found = self.run("decoder_next" if place else "decoder_first", {"tokens": last, **memory})
            memory.pop("image_tokens", None)  # what was seen is remembered
            memory |= {name.removeprefix("new_"): value for name, value in found.items() if name.startswith("new_")}
            scores = found["log_probabilities"]
            if place < facts["least_tokens"]:
                scores[:, facts["end"]] = -np.inf
            last = np.where(ended, facts["end"], scores.argmax(axis=1))
            written[:, place] = last
            ended |= last == facts["end"]
            if ended.all():
                break
        return written

    def read(self, ids: np.ndarray) -> str:
        """The text of ids up to the end token."""
        row: list[int] = ids.tolist()
        text: str = self.tokenizer.decode(row[: row.index(self.facts["end"])] if self.facts["end"] in row else row)
        return text.strip()


def show(exported: Exported, pictures: list[Path], texts: list[str]) -> None:
    """Print what the files say."""
    images = np.stack([exported.prepare(Image.open(path)) for path in pictures])
    seen = exported.run("image", {"images": images})
    if texts and "text" in exported.sessions:
        read = exported.run("text", exported.tokenize(texts))
        for path, row in zip(pictures, seen["image_embedding"] @ read["text_embedding"].T, strict=True):
            for text, cosine in zip(texts, row, strict=True):
                print(f"{path}: {cosine:+.3f} {text}")
    if texts and "fusion" in exported.sessions:
        for path, tokens in zip(pictures, seen["image_tokens"], strict=True):
            repeated = np.repeat(tokens[None], len(texts), axis=0)
            found = exported.run("fusion", {**exported.tokenize(texts), "image_tokens": repeated})
            for text, odds in zip(texts, found["log_odds"], strict=True):
                print(f"{path}: belongs with probability {1 / (1 + np.exp(-odds)):.3f}: {text}")
    if "decoder_first" in exported.sessions:
        for path, ids in zip(pictures, exported.write(seen["image_tokens"]), strict=True):
            print(f"{path}: {exported.read(ids)}")


def main() -> None:
    """Look at the pictures of the command line."""
    parser = argparse.ArgumentParser(description="Similarities and captions of pictures by onnxruntime.")
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--texts", nargs="*", default=[], help="to compare each picture with")
    given = parser.parse_args()
    show(Exported(Path(__file__).parent), given.pictures, given.texts)


if __name__ == "__main__":
    main()
