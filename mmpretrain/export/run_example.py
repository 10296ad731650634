"""Pictures and texts through the ONNX files beside this script: similarities, and captions where there is a decoder.

    python run_example.py photo.jpg drawing.png --texts "a red square" "a dog"

Needs onnxruntime, numpy, pillow and tokenizers, and nothing else.
"""

import argparse
import html
import json
from pathlib import Path
from typing import Any

try:
    import numpy as np
    import onnxruntime
    from PIL import Image, ImageOps
    from tokenizers import Tokenizer
except ModuleNotFoundError as error:
    raise SystemExit(f"needs {error.name}; pip install onnxruntime numpy pillow tokenizers") from None

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


def compare(exported: Exported, seen: Arrays, texts: list[str]) -> list[list[str]]:
    """For each picture a line for each text, the best first: the cosine of their vectors, and how likely that makes it.

    Probabilities are of each text alone where the model learned them so, else among the given texts.
    """
    cosines_BT = seen["image_embedding"] @ exported.run("text", exported.tokenize(texts))["text_embedding"].T
    scale, bias = exported.facts["scale"], exported.facts["bias"]
    if bias is None:
        powers_BT = np.exp(scale * (cosines_BT - cosines_BT.max(axis=1, keepdims=True)))
        shares_BT = powers_BT / powers_BT.sum(axis=1, keepdims=True)
    else:
        shares_BT = 1 / (1 + np.exp(-scale * cosines_BT - bias))
    alone = bias is None and len(texts) == 1  # all of what is given to one text says nothing
    return [
        [
            f"{'' if alone else f'{share_T[n]:6.1%}  '}cosine {cosine_T[n]:+.3f}  {texts[n]}"
            for n in np.argsort(-cosine_T)
        ]
        for cosine_T, share_T in zip(cosines_BT, shares_BT, strict=True)
    ]


def match(exported: Exported, seen: Arrays, texts: list[str]) -> list[list[str]]:
    """For each picture a line for each text: how likely it belongs to the picture, looked at together."""
    told = []
    for tokens in seen["image_tokens"]:
        repeated = np.repeat(tokens[None], len(texts), axis=0)
        odds_T = exported.run("fusion", {**exported.tokenize(texts), "image_tokens": repeated})["log_odds"]
        told.append([f"{1 / (1 + np.exp(-odds_T[n])):6.1%}  belongs        {texts[n]}" for n in np.argsort(-odds_T)])
    return told


def show(exported: Exported, pictures: list[str], images: np.ndarray, texts: list[str]) -> None:
    """Print what the files say of each picture."""
    seen = exported.run("image", {"images": images})
    told = [compare(exported, seen, texts)] if texts and "text" in exported.sessions else []
    told += [match(exported, seen, texts)] if texts and "fusion" in exported.sessions else []
    if "decoder_first" in exported.sessions:
        told.append([[f"caption: {exported.read(ids)}"] for ids in exported.write(seen["image_tokens"])])
    for row, picture in enumerate(pictures):
        print(picture)
        for lines in told:
            print(*(f"  {line}" for line in lines[row]), sep="\n")


def main() -> None:
    """Look at the pictures of the command line."""
    parser = argparse.ArgumentParser(description="Compare pictures with texts, and describe them, by onnxruntime.")
    parser.add_argument("pictures", nargs="+")
    parser.add_argument("--texts", nargs="+", default=[], metavar="TEXT", help="to compare each picture with")
    given = parser.parse_args()
    exported = Exported(Path(__file__).parent)
    if not given.texts and "decoder_first" not in exported.sessions:
        parser.error(f'it compares pictures with texts; add some: {given.pictures[0]} --texts "a cat" "a dog"')
    if given.texts and not {"text", "fusion"} & set(exported.sessions):
        parser.error("it describes pictures and compares them with no texts; leave --texts out")
    images = []
    for name in given.pictures:
        try:
            images.append(exported.prepare(Image.open(name)))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            parser.error(f"{name}: no picture that can be read: {error}")
    show(exported, given.pictures, np.stack(images), given.texts)


if __name__ == "__main__":
    main()
