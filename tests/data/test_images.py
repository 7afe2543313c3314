"""Images come back as a viewer shows them, or as one sentence that says what is wrong."""

import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from criinet.data import images
from criinet.data.bad_files import BadFileError
from criinet.data.images import image_size, is_gray, read_header, read_image, require_pixels, write_gray
from criinet.errors import DataError, ShapeError

RAMP = np.arange(35, dtype=np.uint8).reshape(5, 7) * 7
ROTATED = {1: RAMP, 2: RAMP[:, ::-1], 3: RAMP[::-1, ::-1], 4: RAMP[::-1], 5: RAMP.T, 6: np.rot90(RAMP, -1)}
ROTATED |= {7: RAMP[::-1, ::-1].T, 8: np.rot90(RAMP)}


def save(path: Path, array: np.ndarray, mode: str | None = None, **options: object) -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied_to_pixels_and_size(tmp_path, suffix, orientation):
    """Each of the eight orientations, in files that Pillow reads in different ways."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"a.{suffix}", RAMP, exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    pixels = read_image(path)
    assert image_size(path) == pixels.shape[:2] == ROTATED[orientation].shape
    np.testing.assert_array_equal(pixels if pixels.ndim == 2 else pixels[..., 0], ROTATED[orientation])


@pytest.mark.parametrize(
    ("mode", "suffix", "gray"),
    [
        ("L", "png", True),
        ("LA", "png", True),
        ("1", "png", True),
        ("RGB", "png", False),
        ("RGBA", "png", False),
        ("P", "png", False),
        ("CMYK", "tif", False),
        ("CMYK", "jpg", False),
        ("L", "bmp", True),
    ],
)
def test_every_mode_becomes_8_bit_gray_or_rgb(tmp_path, mode, suffix, gray):
    path = save(tmp_path / f"a.{suffix}", np.full((4, 6), 255, np.uint8), mode)
    pixels = read_image(path)
    assert pixels.dtype == np.uint8
    assert pixels.shape == ((4, 6) if gray else (4, 6, 3))
    assert pixels.min() >= 250
    assert is_gray(path) is gray


def test_rgb_with_equal_channels_stays_rgb(tmp_path):
    assert read_image(save(tmp_path / "a.png", np.stack([RAMP] * 3, -1))).shape == (5, 7, 3)


def test_alpha_is_dropped_and_its_color_kept(tmp_path):
    color = np.zeros((2, 2, 4), np.uint8)
    color[..., :3] = (10, 20, 30)
    assert read_image(save(tmp_path / "a.png", color))[0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize(
    ("dtype", "suffix"), [("uint16", "png"), ("uint16", "tif"), ("int32", "tif"), ("float32", "tif")]
)
def test_deep_images_are_windowed_from_percentile_to_percentile(tmp_path, dtype, suffix):
    """0 to 1000 in steps of 1: the 0.5 percentile is 5 and the 99.5 is 995, so 500 is 127.5 of 255."""
    path = save(tmp_path / f"a.{suffix}", np.arange(1001).astype(dtype).reshape(7, 143))
    pixels = read_image(path).ravel()
    assert read_header(path).deep
    assert pixels[:6].tolist() == [0] * 6
    assert pixels[995:].tolist() == [255] * 6
    assert pixels[500] in (127, 128)


def test_constant_and_non_finite_images_are_black(tmp_path):
    assert not read_image(save(tmp_path / "a.tif", np.full((3, 3), 7, np.uint16))).any()
    assert not read_image(save(tmp_path / "b.tif", np.full((3, 3), np.nan, np.float32))).any()


def test_a_truncated_image_is_one_sentence(tmp_path):
    for suffix in ("png", "jpg", "tif"):
        path = save(tmp_path / f"a.{suffix}", np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(BadFileError, match=r"cut short.*criinet data check.*--skip-bad") as error:
            read_image(path)
        assert str(path) in str(error.value)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(40), b"\xff\xd8\xff\xe0" + bytes(9)])
def test_what_is_no_image_is_refused(tmp_path, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a PNG"):
        read_image(path)
    with pytest.raises(DataError, match="not a PNG"):
        image_size(path)


def test_a_missing_file_and_a_stack_of_pages_are_refused(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_image(tmp_path / "none.png")
    pages = [Image.fromarray(RAMP) for _ in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match="holds 3 pages"):
        read_image(tmp_path / "a.tif")


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_from_its_header(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(png_header(100_000, 100_000))
    with pytest.raises(DataError, match="pixels"):
        read_image(path)
    monkeypatch.setattr(images, "MAX_PIXELS", 30)
    with pytest.raises(DataError, match="over 30 pixels"):
        image_size(save(tmp_path / "b.png", RAMP))


def test_pillow_warns_nobody_and_its_filters_come_back(tmp_path):
    """100 million pixels: Pillow would warn. In threads, the filters are those of before once all are done."""
    path = tmp_path / "a.png"
    path.write_bytes(png_header(10_000, 10_000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before, limit = list(warnings.filters), Image.MAX_IMAGE_PIXELS
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(image_size, [path] * 100)) == {(10_000, 10_000)}
        assert warnings.filters == before
        assert limit == Image.MAX_IMAGE_PIXELS


def colour_of_16_bits(path: Path, highest: int) -> Path:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(path, deep_colours(highest), photometric="rgb")
    return path


def deep_colours(highest: int) -> np.ndarray:
    return np.linspace(0, highest, 6 * 8 * 3).reshape(6, 8, 3).astype(np.uint16)


def test_colours_of_16_bits_keep_their_upper_ones(tmp_path):
    path = colour_of_16_bits(tmp_path / "a.tif", 65535)
    assert read_header(path).deep
    np.testing.assert_array_equal(read_image(path), deep_colours(65535) >> 8)


def test_colours_of_12_bits_in_16_are_refused(tmp_path):
    """They would be nearly black."""
    with pytest.raises(BadFileError, match=r"colour image of 16 bits.*Save it with 8 bits a channel"):
        read_image(colour_of_16_bits(tmp_path / "a.tif", 4095))


def test_gray_is_written_as_it_is_and_nothing_else(tmp_path):
    with pytest.raises(ShapeError):
        write_gray(tmp_path / "m.png", np.zeros((2, 2, 3), np.uint8))
    write_gray(tmp_path / "g.png", RAMP)
    np.testing.assert_array_equal(read_image(tmp_path / "g.png"), RAMP)
    assert [path.name for path in tmp_path.iterdir()] == ["g.png"]


def test_an_image_of_somebodys_own_program_is_read_as_its_file_is(tmp_path):
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    colour = rng.integers(0, 256, (4, 6, 3)).astype(np.uint8)
    Image.fromarray(colour).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(colour).quantize(9).save(tmp_path / "palette.png")
    Image.fromarray(rng.integers(0, 5000, (4, 6)).astype(np.uint16)).save(tmp_path / "deep.png")
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            np.testing.assert_array_equal(require_pixels(image), read_image(path))
    with Image.open(tmp_path / "deep.png") as image:
        deep = np.asarray(image).astype(np.uint16)
    np.testing.assert_array_equal(require_pixels(deep), read_image(tmp_path / "deep.png"))
    opaque = np.dstack([colour, np.full((4, 6), 255, np.uint8)])
    np.testing.assert_array_equal(require_pixels(opaque), colour)
