"""A tiny dataset, a run on it, a session behind a client that holds the token, and a browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from live_page import SLOW, ready, serving
from playwright.sync_api import Page, expect
from review_page import HOST, TOKEN, Save

from criinet.data.synthetic import write_dataset
from criinet.engine.training import train
from criinet.review.app import create_app
from criinet.review.guard import Guard
from criinet.review.session import ReviewSession
from volume_sets import store_as, write_volumes


@pytest.fixture
def page(browser) -> Iterator[Page]:
    """A tab that fails the test on any error in its console."""
    context = browser.new_context(viewport={"width": 1400, "height": 850})
    opened = context.new_page()
    opened.set_default_timeout(SLOW)
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    context.close()
    assert errors == []


@pytest.fixture(scope="session")
def template(tiny_settings, tmp_path_factory) -> Path:
    """A folder with 24 images of 48x48 in data/ (18 train, 6 of them masked; 2 val, 4 test) and a run in run/."""
    root = tmp_path_factory.mktemp("review")
    write_dataset(root / "data", count=24, size=(48, 48), masks=6, val=2, test=4)
    train(root / "data", root / "run", method="crii", settings=tiny_settings(), device="cpu")
    return root


@pytest.fixture
def place(copy_of, template) -> Path:
    """A copy of the template, to be changed at will: data/ and run/."""
    return copy_of(template)


@pytest.fixture(scope="module")
def address(template, browser, tmp_path_factory) -> Iterator[str]:
    """The address of a server on a copy of the template, which the tests of a file share; its queue is ranked."""
    place = tmp_path_factory.mktemp("shared") / "place"
    shutil.copytree(template, place)
    with serving(place) as (printed, _):
        watching = browser.new_context().new_page()
        watching.goto(printed)
        expect(watching.locator("#ranking")).to_have_text("Most useful first")
        watching.context.close()
        yield printed


@pytest.fixture
def shown(page, address) -> str:
    """The name of the case that the page opens with."""
    page.goto(address)
    return ready(page)


@pytest.fixture(scope="session")
def volume_template(tiny_settings, tmp_path_factory) -> Path:
    """A folder with 8 volumes in data/ (v0 to v5 train, v0 and v1 masked; v6 val, v7 test) and a run in run/.

    They have two voxel sizes; v1, v5 and v7 are stored left to right, v3 along other axes, v4 from head to feet.
    """
    root = tmp_path_factory.mktemp("volumes")
    spacings = ((1.0, 1.0, 2.0), (1.0, 1.25, 2.0))
    data = write_volumes(root / "data", 8, masks=8, classes=3, spacings=spacings, flip=True)
    for name in ("v2", "v3", "v4", "v5"):
        (data / "masks" / f"{name}.nii.gz").unlink()
    store_as(data / "images" / "v3.nii.gz", "PIR")
    store_as(data / "images" / "v4.nii.gz", "ALI")
    settings = tiny_settings({"data": {"kind": "slices"}})
    train(data, root / "run", method="crii", settings=settings, device="cpu")
    return root


@pytest.fixture
def volume_place(copy_of, volume_template) -> Path:
    """A copy of the template of volumes, to be changed at will."""
    return copy_of(volume_template)


@pytest.fixture
def session(place) -> Iterator[ReviewSession]:
    """A session that looks at no image by itself; the tests start it where they need it."""
    opened = ReviewSession(place / "run", place / "data", device="cpu")
    yield opened
    opened.close()


@pytest.fixture
def anyone(session) -> TestClient:
    """A client without the token."""
    guard = Guard(create_app(session), token=TOKEN, hosts=frozenset({HOST}), cookie="criinet_review_8000")
    return TestClient(guard, base_url=f"http://{HOST}", follow_redirects=False)


@pytest.fixture
def client(anyone) -> TestClient:
    """A client with the token."""
    anyone.headers["authorization"] = f"Bearer {TOKEN}"
    return anyone


@pytest.fixture
def save(client) -> Save:
    """Save a mask over HTTP."""
    return Save(client)
