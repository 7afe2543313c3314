"""Other programs change images and masks while the page runs: nothing old is shown, and no mask gets into their way."""

import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from review_page import square

from criinet.data.dataset import open_dataset
from criinet.review.disk import mask_in, stamp

OPEN, OTHER = "case_0010", "case_0011"


def image_of(place: Path, name: str) -> Path:
    return place / "data" / "images" / f"{name}.png"


def swap(place: Path) -> None:
    """Let two images change their names."""
    one, other = image_of(place, OPEN), image_of(place, OTHER)
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def shown(client: Any, name: str) -> tuple[bytes, ...]:
    """What the page shows of a case: its image, its thumbnail, and the model's probability of an object."""
    paths = ("image", "thumbnail", "planes/probability-1")
    return tuple(client.get(f"/api/cases/{name}/{path}").content for path in paths)


def test_of_an_image_that_was_replaced_nothing_old_is_shown_or_saved(place, client, save):
    seen, before, other = client.get(f"/api/cases/{OPEN}").json(), shown(client, OPEN), shown(client, OTHER)
    assert before != other
    swap(place)
    assert (shown(client, OPEN), shown(client, OTHER)) == (other, before)
    answer = save(OPEN, version=seen["version"])
    assert answer.status_code == 409
    assert answer.json()["error"].startswith(f"the image of {OPEN} was changed or replaced on the disk")
    body = {"action": "rejected", "version": client.get(f"/api/cases/{OTHER}").json()["version"]}
    assert client.post(f"/api/cases/{OTHER}/decision", json=body).status_code == 409
    assert not (place / "data" / "masks" / f"{OPEN}.png").exists()
    assert save(OPEN).status_code == 200


def test_an_image_of_another_size_wants_a_mask_of_that_size(place, client, save):
    client.get(f"/api/cases/{OPEN}")
    Image.fromarray(np.zeros((40, 56, 3), np.uint8)).save(image_of(place, OPEN))
    about = client.get(f"/api/cases/{OPEN}").json()
    assert (about["height"], about["width"]) == (40, 56)
    answer = save(OPEN)
    assert answer.status_code == 409
    assert answer.json()["error"].startswith(f"the image of {OPEN} was changed or replaced on the disk")
    assert save(OPEN).status_code == 422
    assert save(OPEN, square(size=(40, 56))).status_code == 200


def test_a_mask_that_fitted_the_image_before_is_looked_at_anew(place, client, save):
    assert save(OPEN).status_code == 200
    assert client.get(f"/api/cases/{OPEN}").status_code == 200
    Image.fromarray(np.zeros((40, 56, 3), np.uint8)).save(image_of(place, OPEN))
    answer = client.get(f"/api/cases/{OPEN}")
    assert answer.status_code == 422
    assert "48x48" in answer.json()["error"]


def test_an_image_that_is_gone_is_said(place, client, save):
    seen = client.get(f"/api/cases/{OPEN}").json()["version"]
    image_of(place, OPEN).unlink()
    for path in ("", "/image", "/thumbnail", "/planes/refined"):
        assert client.get(f"/api/cases/{OPEN}{path}").status_code == 422
    answer = save(OPEN, version=seen)
    assert (answer.status_code, "is gone from the disk" in answer.json()["error"]) == (409, True)


@pytest.mark.parametrize("suffix", [".bmp", ".tif", ".PNG"])
def test_a_mask_that_another_program_adds_is_seen_and_gets_no_twin(place, client, save, suffix):
    seen = client.get(f"/api/cases/{OPEN}").json()["version"]
    path = place / "data" / "masks" / f"{OPEN}{suffix}"
    Image.fromarray(square()[::-1] * np.uint8(255)).save(path)
    theirs = path.read_bytes()
    answer = save(OPEN, version=seen)
    assert answer.status_code == 409
    assert "changed outside this page" in answer.json()["error"]
    about = client.get(f"/api/cases/{OPEN}").json()
    assert (about["status"], about["planes"][-1]) == ("labeled", "mask")
    assert np.array_equal(Image.open(path), square()[::-1] * 255)
    knowing = save(OPEN)
    if suffix == ".PNG":
        assert knowing.status_code == 200
        assert (place / "data" / "review" / "replaced" / f"{OPEN}.1.png").read_bytes() == theirs
    else:
        assert (knowing.status_code, path.read_bytes()) == (422, theirs)
        assert "is not a PNG" in knowing.json()["error"]
    assert open_dataset(place / "data").case(OPEN).mask == path


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_the_mask_of_a_case_is_found_by_its_whole_name(tmp_path, form):
    assert mask_in(tmp_path / "none", "x") is None
    name = unicodedata.normalize("NFC", "é.1")
    for other in (f"{name}2.png", f"{name}.txt", f".{name}.png", "é.png"):
        (tmp_path / other).touch()
    assert mask_in(tmp_path, name) is None
    mask = tmp_path / f"{unicodedata.normalize(form, name)}.tif"
    mask.touch()
    assert mask_in(tmp_path, name) == mask


@pytest.mark.parametrize("change", ["content", "moment"])
def test_a_series_is_stamped_by_its_newest_file(tmp_path, change):
    for k in range(3):
        (tmp_path / f"{k}.dcm").write_bytes(b"slice")
        os.utime(tmp_path / f"{k}.dcm", ns=(k, k))
    before = stamp(tmp_path)
    assert before == stamp(tmp_path / "2.dcm")
    if change == "content":
        (tmp_path / "1.dcm").write_bytes(b"another")
    else:
        os.utime(tmp_path / "0.dcm", ns=(3, 3))
    assert stamp(tmp_path) != before
