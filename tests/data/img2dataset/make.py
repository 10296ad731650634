"""Draw pictures, serve them on loopback and have img2dataset make shards of them: `make.py IMG2DATASET OUT [COUNT]`."""

import functools
import http.server
import itertools
import subprocess
import sys
import threading
from pathlib import Path

from PIL import Image, ImageDraw

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 220), "grey": (120, 120, 120)}
SHAPES = ("square", "circle", "triangle", "cross", "ring", "bar")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


def draw(colour: str, shape: str, size: tuple[int, int], inset: int) -> Image.Image:
    image = Image.new("RGB", size, "white")
    pen, (right, bottom) = ImageDraw.Draw(image), (size[0] - inset, size[1] - inset)
    fill = COLOURS[colour]
    if shape == "square":
        pen.rectangle((inset, inset, right, bottom), fill=fill)
    elif shape == "circle":
        pen.ellipse((inset, inset, right, bottom), fill=fill)
    elif shape == "triangle":
        pen.polygon([(inset, bottom), (right, bottom), (size[0] // 2, inset)], fill=fill)
    elif shape == "cross":
        pen.line((inset, inset, right, bottom), fill=fill, width=8)
        pen.line((inset, bottom, right, inset), fill=fill, width=8)
    elif shape == "ring":
        pen.ellipse((inset, inset, right, bottom), outline=fill, width=8)
    else:
        pen.rectangle((inset, size[1] // 2 - 6, right, size[1] // 2 + 6), fill=fill)
    return image


def make(program: str, out: Path, count: int = 20) -> list[str]:
    """Shards in out/shards; returns the captions in the order of the list, without that of a picture that is gone."""
    pictures = out / "pictures"
    pictures.mkdir(parents=True)
    kinds = itertools.product(((64, 64), (80, 60), (60, 80)), COLOURS, SHAPES)
    captions = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(pictures))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"http://127.0.0.1:{server.server_port}"
        rows = ["url\tcaption"]
        for number, (size, colour, shape) in enumerate(itertools.islice(kinds, count)):
            draw(colour, shape, size, 6 + number % 5).save(pictures / f"{number:03d}.jpg", quality=80)
            captions.append(f"a {colour} {shape}, {size[0]} wide")
            rows.append(f"{host}/{number:03d}.jpg\t{captions[-1]}")
        rows.append(f"{host}/gone.jpg\ta picture that is gone")
        (out / "list.tsv").write_text("\n".join(rows) + "\n")
        command = [program, f"--url_list={out / 'list.tsv'}", "--input_format=tsv", "--url_col=url"]
        command += ["--caption_col=caption", "--output_format=webdataset", f"--output_folder={out / 'shards'}"]
        command += ["--processes_count=1", "--thread_count=8", "--image_size=64", "--resize_mode=keep_ratio"]
        command += [f"--number_sample_per_shard={count // 2 + 1}", "--encode_quality=80"]
        subprocess.run(command, check=True, timeout=300)
        server.shutdown()
    return captions


if __name__ == "__main__":
    make(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 20)
