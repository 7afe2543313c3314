"""Only who holds the token, from the page's own address, with a mask that fits its image, changes anything."""

import io
import shutil
import urllib.parse

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image, PngImagePlugin
from review_page import HOST, TOKEN, square

from criinet.errors import ConfigError
from criinet.review.app import OVERHEAD, create_app
from criinet.review.guard import Guard
from criinet.review.server import is_loopback, listen, own_hosts
from criinet.review.session import ReviewSession

OPEN = "case_0010"
READS = ("/", "/main.js", "/api/about", "/api/status", "/api/cases", f"/api/cases/{OPEN}", f"/api/cases/{OPEN}/image")


@pytest.mark.parametrize("path", READS)
def test_without_the_token_nothing_is_shown(anyone, path):
    answer = anyone.get(path)
    assert answer.status_code == 401
    if path == "/":  # A person reads it.
        assert answer.headers["content-type"].startswith("text/html")
        assert "open the address" in answer.text
    else:
        assert "open the address" in answer.json()["error"]
    assert anyone.get(path, headers={"authorization": "Bearer wrong"}).status_code == 401
    assert anyone.get(f"{path}?token=wrong").status_code == 401


def test_the_printed_address_gives_a_cookie_and_hides_the_token(anyone):
    answer = anyone.get("/", params={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert anyone.get("/").status_code == 200
    assert anyone.get("/api/status").status_code == 200


def test_foreign_origins_and_hosts_are_refused(client):
    for headers in ({"origin": "http://evil.example"}, {"origin": "null"}, {"origin": "http://127.0.0.1:9"}):
        assert client.get("/api/status", headers=headers).status_code == 403
        assert client.post("/api/rounds", json={"action": "start"}, headers=headers).status_code == 403
    assert client.get("/api/status", headers={"host": "evil.example:8000"}).status_code == 403
    assert client.get("/api/status", headers={"origin": f"http://{HOST}"}).status_code == 200


def test_nothing_may_be_loaded_from_elsewhere_framed_or_cached(client):
    for path in READS:
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"


def test_a_request_that_is_no_mask_is_short(client):
    """A decision is a few words; what is longer, or does not say how long it is, is not read at all."""
    decision = f"/api/cases/{OPEN}/decision"
    assert client.post(decision, json={"by": "x" * 70_000}).status_code == 413

    def endless():
        yield b"{}"

    answer = client.post(decision, content=endless(), headers={"content-type": "application/json"})
    assert answer.status_code == 411
    assert "how long" in answer.json()["error"]


@pytest.mark.parametrize("name", ["../../run/config.json", "..%2f..%2frun%2fconfig", "/etc/passwd", "%00", "case_9999"])
def test_names_are_looked_up_and_never_joined_to_a_path(client, name):
    for quoted in (name, urllib.parse.quote(name, safe="")):
        for rest in ("", "/image", "/thumbnail", "/planes/mask"):
            answer = client.get(f"/api/cases/{quoted}{rest}")
            assert answer.status_code in (404, 422)
            assert "dataset" not in answer.text


@pytest.mark.parametrize(
    "path", ["/../app.py", "/%2e%2e/app.py", "/..%2fapp.py", "/static/../../session.py", "/main.js/../../app.py"]
)
def test_static_files_stay_in_their_folder(client, path):
    assert client.get(path).status_code in (404, 405)


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (b"", 422, "cannot be read as an image"),
        (b"<script>alert(1)</script>", 422, "cannot be read as an image"),
        (png(square())[:60], 422, "cannot be read as an image"),
        (png(square(size=(48, 47))), 422, "47x48"),
        (png(square(size=(4096, 4096))), 422, "4096x4096"),
        (png(np.zeros((48, 48, 3), np.uint8)), 422, "mode RGB"),
        (png(square(2)), 422, "holds class 2, but the largest is 1; reload the page"),
        (b"x" * (48 * 48 + OVERHEAD + 1), 413, "larger than"),
    ],
)
def test_bodies_that_are_no_mask_of_the_image_are_refused(place, save, body, code, said):
    answer = save(OPEN, body=body)
    assert answer.status_code == code
    assert said in answer.json()["error"]
    assert not (place / "data" / "masks" / f"{OPEN}.png").exists()
    assert not (place / "data" / "review").exists()


def test_a_body_of_another_type_is_refused(client):
    answer = client.put(
        f"/api/cases/{OPEN}/mask",
        params={"action": "corrected", "version": "0-none"},
        content=png(square()),
        headers={"content-type": "text/plain"},
    )
    assert (answer.status_code, answer.json()["error"]) == (422, "the mask is not sent as image/png; reload the page.")


def test_requests_that_do_not_fit_get_a_sentence_without_what_was_sent(client):
    answer = client.post(f"/api/cases/{OPEN}/decision", json={"action": "explode", "version": "secret"})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("action: input should be")
    assert "secret" not in answer.text
    assert (
        client.post("/api/rounds", json={"action": "use"})
        .json()["error"]
        .startswith("the number of the round to use is missing;")
    )


def test_no_header_of_an_image_reaches_the_page(place, client):
    path = place / "data" / "images" / f"{OPEN}.png"
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Patient", "Jane Roe")
    exif = Image.Exif()
    exif[0x010E] = "Jane Roe"
    Image.open(path).save(path, pnginfo=notes, exif=exif)
    for which in ("image", "thumbnail"):
        content = client.get(f"/api/cases/{OPEN}/{which}").content
        assert b"Jane" not in content
        with Image.open(io.BytesIO(content)) as image:
            assert not image.getexif()
            assert "Patient" not in image.info


def test_a_taken_port_is_said_in_a_sentence():
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=r"cannot be listened on .* another --port"):
            listen("127.0.0.1", port)


def test_only_loopback_addresses_know_their_names():
    assert all(is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.7", "workstation"))
    assert own_hosts("0.0.0.0", 8000) is None
    assert "[::1]:8000" in (own_hosts("::1", 8000) or ())


def test_at_port_80_browsers_name_no_port(session):
    guard = Guard(create_app(session), token=TOKEN, hosts=own_hosts("127.0.0.1", 80), cookie="criinet_review_80")
    client = TestClient(guard, base_url="http://127.0.0.1", headers={"authorization": f"Bearer {TOKEN}"})
    for host in ("127.0.0.1", "localhost", "[::1]", "127.0.0.1:80"):
        headers = {"host": host, "origin": f"http://{host}"}
        assert client.get("/api/status", headers=headers).status_code == 200
    assert client.get("/api/status", headers={"host": "evil.example"}).status_code == 403
    assert "127.0.0.1" not in (own_hosts("127.0.0.1", 8000) or ())


def test_other_programs_cookies_do_not_lock_anyone_out(anyone):
    """Cookies of 127.0.0.1 are shared by all ports; not all of them can be parsed as the standard has it."""
    for foreign in ('foo={"a":1}', "user[id]=3", "x", "a b=c"):
        header = f"{foreign}; criinet_review_8000={TOKEN}"
        assert anyone.get("/api/status", headers={"cookie": header}).status_code == 200
    assert anyone.get("/api/status", headers={"cookie": 'foo={"a":1}'}).status_code == 401


def test_drafts_of_two_datasets_of_one_name_are_kept_apart(client, place, tmp_path):
    shutil.copytree(place / "data", tmp_path / "other" / "data")
    other = ReviewSession(place / "run", tmp_path / "other" / "data", device="cpu")
    here, there = client.get("/api/about").json(), other.about()
    other.close()
    assert here["dataset"] == there["dataset"]
    assert here["drafts"] != there["drafts"]
