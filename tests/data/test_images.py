"""Images and masks come back as a viewer shows them, or as one sentence that says what is wrong."""

import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from criinet.data import files, images
from criinet.data.files import make_folder, write_atomically, write_text_atomically
from criinet.data.images import (
    PALETTE,
    BadFileError,
    image_size,
    is_gray,
    read_header,
    read_image,
    read_mask,
    write_gray,
    write_mask,
)
from criinet.errors import DataError, ShapeError, StorageError

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


INDEX = np.array([[0, 1, 2], [3, 0, 1]], np.uint8)
BINARY = np.array([[0, 255, 0], [255, 0, 255]], np.uint8)


def test_index_masks_come_back_as_written(tmp_path):
    """Gray, equal channels, with alpha, 16 bits, and palette: always the stored index."""
    write_mask(tmp_path / "p.png", INDEX, 4)
    paths = [
        tmp_path / "p.png",
        save(tmp_path / "l.png", INDEX),
        save(tmp_path / "rgb.png", np.stack([INDEX] * 3, -1)),
        save(tmp_path / "rgba.png", np.stack([INDEX] * 4, -1)),
        save(tmp_path / "la.png", INDEX, "LA"),
        save(tmp_path / "deep.png", INDEX.astype(np.uint16)),
    ]
    for path in paths:
        np.testing.assert_array_equal(read_mask(path, "index", 4), INDEX, err_msg=path.name)


def test_binary_masks_become_0_and_1(tmp_path):
    """Also from a 1-bit file, a palette file of 0 and 1, and a JPEG, whose values are off by a little."""
    block = np.kron(BINARY, np.ones((21, 21), np.uint8))
    write_mask(tmp_path / "p.png", (block > 0).astype(np.uint8), 2)
    jpeg = save(tmp_path / "a.jpg", block, quality=60)
    assert len(np.unique(read_image(jpeg))) > 2
    for path in (save(tmp_path / "l.png", block), save(tmp_path / "1.png", block, "1"), tmp_path / "p.png", jpeg):
        np.testing.assert_array_equal(read_mask(path, "binary255", 2), block > 0, err_msg=path.name)


def test_a_palette_that_begins_with_white_is_turned_round(tmp_path):
    """Programs that sort colours by brightness or count give white the index 0; the background would be the object."""
    drawn = np.zeros((6, 8), np.uint8)
    drawn[:2] = 255
    image = Image.fromarray(np.dstack([drawn] * 3))
    quantised = image.quantize(2)
    assert quantised.getpalette()[:3] == [255, 255, 255]  # pyright: ignore[reportOptionalSubscript]
    quantised.save(tmp_path / "q.png")
    for encoding in ("index", "binary255"):
        np.testing.assert_array_equal(read_mask(tmp_path / "q.png", encoding, 2), drawn // 255)
    write_mask(tmp_path / "c.png", drawn // 255, 2)
    np.testing.assert_array_equal(read_mask(tmp_path / "c.png", "index", 2), drawn // 255)


def test_a_jpeg_mask_without_white_is_no_empty_one(tmp_path):
    Image.fromarray(np.kron(np.eye(2, dtype=np.uint8), np.ones((16, 16), np.uint8))).save(tmp_path / "dark.jpg")
    with pytest.raises(BadFileError, match=r"dark\.jpg is a JPEG mask whose brightest value is 1, so that nothing"):
        read_mask(tmp_path / "dark.jpg", "binary255", 2)
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "empty.jpg")
    assert not read_mask(tmp_path / "empty.jpg", "binary255", 2).any()


def test_where_255_may_mean_unknown_the_remedy_keeps_it_so(tmp_path):
    Image.fromarray(np.array([[0, 1, 255]], np.uint8)).save(tmp_path / "voc.png")
    with pytest.raises(BadFileError, match='nobody knows, write "encoding": "index" and "ignore": true into dataset'):
        read_mask(tmp_path / "voc.png", "binary255", 2)
    Image.fromarray(np.array([[0, 255]], np.uint8)).save(tmp_path / "binary.png")
    with pytest.raises(BadFileError, match=r'Where 255 is the object, write "encoding": "binary255" into'):
        read_mask(tmp_path / "binary.png", "index", 2)


def test_masks_that_contradict_the_encoding_are_refused(tmp_path):
    with pytest.raises(DataError, match="has class 3, but the dataset has 2 classes: background, lesion"):
        read_mask(save(tmp_path / "a.png", INDEX), "index", 2, names=("background", "lesion"))
    with pytest.raises(DataError, match="has the value 1, but the masks of this dataset hold 0 and 255"):
        read_mask(tmp_path / "a.png", "binary255", 2)
    with pytest.raises(DataError, match="blurs class indices"):
        read_mask(save(tmp_path / "a.jpg", INDEX), "index", 4)
    color = np.stack([INDEX, 0 * INDEX, 0 * INDEX], -1)
    with pytest.raises(DataError, match="in colour"):
        read_mask(save(tmp_path / "c.png", color), "index", 4)
    with pytest.raises(DataError, match="values from 0 to 3000"):
        read_mask(save(tmp_path / "d.png", INDEX.astype(np.uint16) * 1000), "index", 4)
    with pytest.raises(DataError, match="of mode F"):
        read_mask(save(tmp_path / "f.tif", INDEX.astype(np.float32)), "index", 4)


def test_a_written_mask_is_shown_in_the_palette(tmp_path):
    write_mask(tmp_path / "m.png", INDEX, 4)
    shown = read_image(tmp_path / "m.png")
    assert [tuple(shown[0, k]) for k in range(3)] == list(PALETTE[:3])
    assert len(set(PALETTE)) == 256


def test_writing_refuses_what_is_no_mask(tmp_path):
    with pytest.raises(ValueError, match="outside"):
        write_mask(tmp_path / "m.png", INDEX, 3)
    with pytest.raises(ShapeError):
        write_mask(tmp_path / "m.png", INDEX[None], 4)
    with pytest.raises(ShapeError):
        write_gray(tmp_path / "m.png", np.zeros((2, 2, 3), np.uint8))
    write_gray(tmp_path / "g.png", RAMP)
    np.testing.assert_array_equal(read_image(tmp_path / "g.png"), RAMP)
    assert [path.name for path in tmp_path.iterdir()] == ["g.png"]


def test_a_full_disk_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "a.txt"
    write_text_atomically(path, "old")

    def fill(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match=r"no space left to write .*a\.txt"):
        write_atomically(path, fill)
    with pytest.raises(ZeroDivisionError):
        write_atomically(path, lambda _: 1 / 0)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def denied() -> None:
    raise PermissionError(13, "Permission denied")


def test_rows_are_written_as_csv_below_the_keys_of_the_first():
    assert files.csv_text([{"case": "a,b", "dice": 0.5}, {"case": "c"}]) == 'case,dice\n"a,b",0.5\nc,\n'
    assert files.csv_text(iter([{"b": 1}]), ["a", "b"]) == "a,b\n,1\n"
    assert files.csv_text([]) == ""


def test_places_that_cannot_be_written_are_storage_errors(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="in the way"):
        make_folder(tmp_path / "file")
    with pytest.raises(StorageError, match="in the way"):
        write_text_atomically(tmp_path / "file" / "a.txt", "")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="in the way"):
        write_text_atomically(tmp_path / "folder", "")
    with pytest.raises(StorageError, match=r"cannot be written \(permission denied\); check its permissions"):
        write_atomically(tmp_path / "a", lambda _: denied())
    monkeypatch.setattr(files.os, "access", lambda *_: False)
    with pytest.raises(StorageError, match="not writable"):
        make_folder(tmp_path / "new")


def test_a_written_file_has_the_usual_permissions(tmp_path):
    """A temporary file made by the tempfile module would be readable by its owner alone."""
    write_text_atomically(tmp_path / "deep" / "a.txt", "x")
    (tmp_path / "b.txt").write_text("x")
    assert (tmp_path / "deep" / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0)])
def test_a_mask_drawn_in_transparency_is_refused(tmp_path, colour):
    """Its colours say nothing: all of it would be one class."""
    pixels = np.zeros((6, 8, 4), np.uint8)
    pixels[..., :3] = colour
    pixels[2:4, 3:6, 3] = 255
    with pytest.raises(BadFileError, match=r"is a mask drawn in transparency.*one gray channel"):
        read_mask(save(tmp_path / "a.png", pixels), "binary255", 2)
    with pytest.raises(BadFileError, match="is a mask drawn in transparency"):
        read_mask(save(tmp_path / "b.png", pixels[..., 2:]), "binary255", 2)
    pixels[..., 3] = 255
    assert read_mask(save(tmp_path / "c.png", pixels), "binary255", 2).max() == colour[0] // 255


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
