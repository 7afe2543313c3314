"""Masks come back as class indices, or as one sentence that says what contradicts their encoding."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from criinet.data.bad_files import BadFileError
from criinet.data.images import read_image
from criinet.data.masks import PALETTE, is_in_colour, read_colours, read_mask, read_object, write_mask
from criinet.errors import DataError, ShapeError

INDEX = np.array([[0, 1, 2], [3, 0, 1]], np.uint8)
TWO = ("background", "lesion")
FOUR = ("background", "liver", "spleen", "kidney")
BINARY = np.array([[0, 255, 0], [255, 0, 255]], np.uint8)


def save(path: Path, array: np.ndarray, mode: str | None = None, **options: object) -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


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
        np.testing.assert_array_equal(read_mask(path, "index", FOUR), INDEX, err_msg=path.name)


def test_binary_masks_become_0_and_1(tmp_path):
    """Also from a 1-bit file, a palette file of 0 and 1, and a JPEG, whose values are off by a little."""
    block = np.kron(BINARY, np.ones((21, 21), np.uint8))
    write_mask(tmp_path / "p.png", (block > 0).astype(np.uint8), 2)
    jpeg = save(tmp_path / "a.jpg", block, quality=60)
    assert len(np.unique(read_image(jpeg))) > 2
    for path in (save(tmp_path / "l.png", block), save(tmp_path / "1.png", block, "1"), tmp_path / "p.png", jpeg):
        np.testing.assert_array_equal(read_mask(path, "binary255", TWO), block > 0, err_msg=path.name)


def test_a_palette_that_begins_with_white_is_turned_round(tmp_path):
    """Programs that sort colours by brightness or count give white the index 0; the background would be the object."""
    drawn = np.zeros((6, 8), np.uint8)
    drawn[:2] = 255
    image = Image.fromarray(np.dstack([drawn] * 3))
    quantised = image.quantize(2)
    assert quantised.getpalette()[:3] == [255, 255, 255]  # pyright: ignore[reportOptionalSubscript]
    quantised.save(tmp_path / "q.png")
    for encoding in ("index", "binary255"):
        np.testing.assert_array_equal(read_mask(tmp_path / "q.png", encoding, TWO), drawn // 255)
    write_mask(tmp_path / "c.png", drawn // 255, 2)
    np.testing.assert_array_equal(read_mask(tmp_path / "c.png", "index", TWO), drawn // 255)


def test_a_jpeg_mask_without_white_is_no_empty_one(tmp_path):
    Image.fromarray(np.kron(np.eye(2, dtype=np.uint8), np.ones((16, 16), np.uint8))).save(tmp_path / "dark.jpg")
    with pytest.raises(BadFileError, match=r"dark\.jpg is a JPEG mask whose brightest value is 1, so that nothing"):
        read_mask(tmp_path / "dark.jpg", "binary255", TWO)
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "empty.jpg")
    assert not read_mask(tmp_path / "empty.jpg", "binary255", TWO).any()


def test_where_255_may_mean_unknown_the_remedy_keeps_it_so(tmp_path):
    Image.fromarray(np.array([[0, 1, 255]], np.uint8)).save(tmp_path / "voc.png")
    with pytest.raises(BadFileError, match='nobody knows, write "encoding": "index" and "ignore": true into dataset'):
        read_mask(tmp_path / "voc.png", "binary255", TWO)
    Image.fromarray(np.array([[0, 255]], np.uint8)).save(tmp_path / "binary.png")
    with pytest.raises(BadFileError, match=r'Where 255 is the object, write "encoding": "binary255" into'):
        read_mask(tmp_path / "binary.png", "index", TWO)


def test_masks_that_contradict_the_encoding_are_refused(tmp_path):
    with pytest.raises(DataError, match="has class 3, but the dataset has 2 classes: background, lesion"):
        read_mask(save(tmp_path / "a.png", INDEX), "index", TWO)
    with pytest.raises(DataError, match="has the value 1, but the masks of this dataset hold 0 and 255"):
        read_mask(tmp_path / "a.png", "binary255", TWO)
    with pytest.raises(DataError, match="blurs class indices"):
        read_mask(save(tmp_path / "a.jpg", INDEX), "index", FOUR)
    color = np.stack([INDEX, 0 * INDEX, 0 * INDEX], -1)
    with pytest.raises(DataError, match="in colour"):
        read_mask(save(tmp_path / "c.png", color), "index", FOUR)
    with pytest.raises(DataError, match="values from 0 to 3000"):
        read_mask(save(tmp_path / "d.png", INDEX.astype(np.uint16) * 1000), "index", FOUR)
    with pytest.raises(DataError, match="of mode F"):
        read_mask(save(tmp_path / "f.tif", INDEX.astype(np.float32)), "index", FOUR)


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
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0)])
def test_a_mask_drawn_in_transparency_is_refused(tmp_path, colour):
    """Its colours say nothing: all of it would be one class. What imports them reads what is opaque."""
    pixels = np.zeros((6, 8, 4), np.uint8)
    pixels[..., :3] = colour
    pixels[2:4, 3:6, 3] = 255
    with pytest.raises(BadFileError, match=r"is a mask drawn in transparency.*or let `criinet data import pairs FOL"):
        read_mask(save(tmp_path / "a.png", pixels), "binary255", TWO)
    with pytest.raises(BadFileError, match="is a mask drawn in transparency"):
        read_mask(save(tmp_path / "b.png", pixels[..., 2:]), "binary255", TWO)
    for name in ("a.png", "b.png"):
        assert is_in_colour(tmp_path / name)
        np.testing.assert_array_equal(read_object(tmp_path / name), pixels[..., 3] > 0)
        np.testing.assert_array_equal(read_colours(tmp_path / name), np.where(pixels[..., 3], 0xFFFFFF, 0))
    pixels[..., 3] = 255
    assert read_mask(save(tmp_path / "c.png", pixels), "binary255", TWO).max() == colour[0] // 255


def test_an_object_of_any_colour_is_found_whatever_number_its_palette_gives_black(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2, 2]], np.uint8))
    image.putpalette([255, 0, 0, 0, 0, 255, 0, 0, 0])
    image.save(tmp_path / "a.png")
    assert read_object(tmp_path / "a.png").tolist() == [[True, True, False, False]]
    image.putpalette([0, 0, 0, 0, 0, 255, 0, 0, 0])
    image.save(tmp_path / "b.png")
    assert read_object(tmp_path / "b.png").tolist() == [[False, True, True, True]]
