"""Every kind of picture comes out as the colours that a person sees, against references made without Pillow."""

import io

import numpy as np
import pytest
from PIL import Image

from mmpretrain.data.images import decode_image
from tests.data import png

SIZES = [(1, 1), (7, 5), (64, 48)]
TOLERANCE = 2


def ramp(size: tuple[int, int], channels: int, top: int, seed: int = 0) -> np.ndarray:
    """Integers from 0 to `top`, with both ends among them where there is room."""
    samples = np.random.default_rng(seed).integers(0, top + 1, (size[1], size[0], channels))
    samples.reshape(-1)[:: max(1, samples.size - 1)] = [0, top][: -(-samples.size // max(1, samples.size - 1))]
    return samples


def over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Both in 0 to 1; the composite in 0 to 255."""
    return 255 * (colour * alpha + 1 - alpha)


def grey(size: tuple[int, int], depth: int) -> tuple[bytes, np.ndarray]:
    samples = ramp(size, 1, 2**depth - 1)
    return png.encode(samples, depth, png.GREY), np.repeat(samples / (2**depth - 1) * 255, 3, axis=2)


def grey_with_a_transparent_level(size: tuple[int, int], depth: int) -> tuple[bytes, np.ndarray]:
    samples = ramp(size, 1, 2**depth - 1)
    level = int(samples.reshape(-1)[samples.size // 2])
    content = png.encode(samples, depth, png.GREY, png.chunk(b"tRNS", level.to_bytes(2, "big")))
    return content, np.repeat(over_white(samples / (2**depth - 1), samples != level), 3, axis=2)


def colour(size: tuple[int, int], depth: int) -> tuple[bytes, np.ndarray]:
    samples = ramp(size, 3, 2**depth - 1)
    return png.encode(samples, depth, png.RGB), samples / (2**depth - 1) * 255


def colour_with_a_transparent_one(size: tuple[int, int], depth: int) -> tuple[bytes, np.ndarray]:
    samples = ramp(size, 3, 2**depth - 1)
    chosen = samples[size[1] // 2, size[0] // 2]
    key = b"".join(int(value).to_bytes(2, "big") for value in chosen)
    alpha = (samples != chosen).any(axis=2, keepdims=True)
    return png.encode(samples, depth, png.RGB, png.chunk(b"tRNS", key)), over_white(samples / (2**depth - 1), alpha)


def palette(size: tuple[int, int], depth: int) -> tuple[bytes, np.ndarray]:
    samples = ramp(size, 1, 2**depth - 1)
    colours = ramp((2**depth, 1), 3, 255, seed=1)[0]
    content = png.encode(samples, depth, png.PALETTE, png.chunk(b"PLTE", colours.astype(np.uint8).tobytes()))
    return content, colours[samples[..., 0]].astype(float)


def palette_with_alpha(size: tuple[int, int], depth: int) -> tuple[bytes, np.ndarray]:
    samples = ramp(size, 1, 2**depth - 1)
    colours = ramp((2**depth, 1), 3, 255, seed=1)[0]
    alphas = ramp((2**depth, 1), 1, 255, seed=2)[0]
    content = png.encode(
        samples,
        depth,
        png.PALETTE,
        png.chunk(b"PLTE", colours.astype(np.uint8).tobytes()),
        png.chunk(b"tRNS", alphas.astype(np.uint8).tobytes()),
    )
    return content, over_white(colours[samples[..., 0]] / 255, alphas[samples[..., 0]] / 255)


def grey_and_alpha(size: tuple[int, int], depth: int) -> tuple[bytes, np.ndarray]:
    samples = ramp(size, 2, 2**depth - 1)
    scaled = samples / (2**depth - 1)
    return png.encode(samples, depth, png.GREY_ALPHA), np.repeat(
        over_white(scaled[..., :1], scaled[..., 1:]), 3, axis=2
    )


def colour_and_alpha(size: tuple[int, int], depth: int) -> tuple[bytes, np.ndarray]:
    samples = ramp(size, 4, 2**depth - 1)
    scaled = samples / (2**depth - 1)
    return png.encode(samples, depth, png.RGB_ALPHA), over_white(scaled[..., :3], scaled[..., 3:])


PNGS = [
    *((grey, depth) for depth in (1, 2, 4, 8, 16)),
    *((grey_with_a_transparent_level, depth) for depth in (1, 2, 4, 8, 16)),
    *((colour, depth) for depth in (8, 16)),
    *((colour_with_a_transparent_one, depth) for depth in (8, 16)),
    *((palette, depth) for depth in (1, 2, 4, 8)),
    *((palette_with_alpha, depth) for depth in (1, 2, 4, 8)),
    *((grey_and_alpha, depth) for depth in (8, 16)),
    *((colour_and_alpha, depth) for depth in (8, 16)),
]


def assert_near(content: bytes, expected_HWC: np.ndarray, tolerance: float = TOLERANCE) -> None:
    pixels = decode_image(content).permute(1, 2, 0).numpy().astype(float)
    assert pixels.shape == expected_HWC.shape
    assert np.abs(pixels - expected_HWC).max() <= tolerance


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("kind", "depth"), PNGS, ids=lambda value: getattr(value, "__name__", value))
def test_every_colour_type_and_depth_of_png_comes_out_right(kind, depth: int, size: tuple[int, int]):
    # of 16 bits a channel Pillow keeps 8, in colour and in alpha, before they are multiplied
    assert_near(*kind(size, depth), tolerance=3 if (kind, depth) == (colour_and_alpha, 16) else TOLERANCE)


def smooth(size: tuple[int, int], channels: int) -> np.ndarray:
    """Gradients, which JPEG at its best keeps within a level."""
    across, down = np.meshgrid(np.linspace(20, 230, size[0]), np.linspace(30, 220, size[1]))
    return np.stack([across, down, (across + down) / 2, 255 - across][:channels], axis=2).round().astype(np.uint8)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("size", SIZES)
def test_cmyk_jpegs_come_out_as_the_colours_that_are_left(size: tuple[int, int]):
    ink = smooth(size, 4)
    content = saved(Image.fromarray(ink, "CMYK"), "JPEG", quality=100, subsampling=0)
    paper = 255 - ink.astype(float)
    assert_near(content, paper[..., :3] * paper[..., 3:] / 255, tolerance=4)  # two of them are JPEG's own


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_grey_and_colour_jpegs_come_out_right(mode: str, size: tuple[int, int]):
    pixels = smooth(size, 3) if mode == "RGB" else smooth(size, 1)[..., 0]
    content = saved(Image.fromarray(pixels), "JPEG", quality=100, subsampling=0)
    assert_near(content, np.broadcast_to(pixels.reshape(*pixels.shape[:2], -1), (*pixels.shape[:2], 3)), tolerance=3)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [3, 4])
def test_lossless_webp_comes_out_right_with_alpha_over_white(channels: int, size: tuple[int, int]):
    pixels = ramp(size, channels, 255).astype(np.uint8)
    content = saved(Image.fromarray(pixels), "WEBP", lossless=True, exact=True)
    alpha = pixels[..., 3:] / 255 if channels == 4 else np.ones((*pixels.shape[:2], 1))
    assert_near(content, over_white(pixels[..., :3] / 255, alpha))


# -- orientation ---------------------------------------------------------------------------------------------

UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}
"""What the EXIF tag says must be done to the stored pixels (EXIF 2.3, 4.6.4 A, tag 274)."""


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "CMYK"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_pictures_are_turned_upright_to_the_very_pixel(kind: str, orientation: int, mode: str):
    if (kind, mode) in {("JPEG", "RGBA"), ("PNG", "CMYK"), ("WEBP", "CMYK"), ("WEBP", "L")}:
        pytest.skip("no such file")
    pixels = ramp((12, 9), len(Image.new(mode, (1, 1)).getbands()), 255).astype(np.uint8)
    image = Image.fromarray(pixels.squeeze(), mode)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    exif = Image.Exif()
    exif[274] = orientation
    stored = decode_image(saved(image, kind, **options)).permute(1, 2, 0).numpy()
    turned = decode_image(saved(image, kind, exif=exif, **options)).permute(1, 2, 0).numpy()
    assert np.array_equal(turned, UPRIGHT[orientation](stored))


# -- frames --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_an_animation_the_first_frame_is_the_picture(kind: str):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=100, lossless=True)
    assert Image.open(io.BytesIO(content)).n_frames == 3
    assert decode_image(content)[:, 8, 8].tolist() == [255, 0, 0]
