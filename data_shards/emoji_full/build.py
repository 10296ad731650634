"""Make the shards beside this file: the full set of emoji, with skin tones, from pinned packages of npm and Debian.

    pip install -e ".[shards]"
    python data_shards/emoji_full/build.py                     # needs `npm` and apt-get
    python data_shards/emoji_full/build.py --packages FOLDER   # where the four .tgz and the .deb are already

Pictures and names are those of data_shards/emoji, with all variants; the JSON member also has the subgroup of
Unicode's list, and what code points and names say of the looks: skin tone, gender, hair, colour, direction. Splits are
those of data_shards/emoji. The cards here and in data_shards/emoji_subcategory read the same tars.
"""

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from mmpretrain.data.convert.members import to_json
from mmpretrain.data.writer import ShardWriter
from mmpretrain.recipes.sources.emoji_facts import SOURCES, Described, describe
from mmpretrain.recipes.sources.from_packages import main

EMOJI = Path(__file__).parents[1] / "emoji"
SIDE = 64


def members(found: Described) -> dict[str, bytes]:
    name = found.pair.drawing.captions["en"]
    return {"png": found.pair.png, "txt": name.encode(), "json": to_json(found.facts)}


def build(root: Path, out: Path) -> tuple[Counter[str], Counter[str]]:
    """Write one tar an artist and split; returns samples by split and what was left out by reason."""
    counts, left_out = Counter({"train": 0, "val": 0, "test": 0, "unseen": 0}), Counter[str]()
    writers: dict[str, ShardWriter] = {}
    with ExitStack() as stack:
        for found in describe(root, EMOJI, SIDE, left_out):
            name = f"{found.pair.drawing.artist.name}-{found.split}"
            if name not in writers:
                writers[name] = stack.enter_context(ShardWriter(out, name))
            writers[name].write(found.pair.drawing.key, members(found))
            counts[found.split] += 1
    return counts, left_out


if __name__ == "__main__":
    main(__doc__, Path(__file__).parent, SOURCES, "pictures", build)
