"""A correction is written at once, whole, with who and when; and nobody's work is overwritten unseen."""

import json
import os
import shutil
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from review_page import square

from criinet.data.dataset import open_dataset
from criinet.data.splits import Split, load_split
from criinet.errors import StorageError
from criinet.review import store as store_module
from criinet.review.session import ReviewSession
from criinet.review.store import ConflictError, Effort, ReviewStore, training_split

OPEN, LABELED, VAL = "case_0010", "case_0001", "case_0019"


def record(place: Path, name: str) -> list[dict]:
    return json.loads((place / "data" / "review" / f"{name}.json").read_text())["decisions"]


def test_a_mask_is_written_in_the_datasets_own_encoding_with_who_when_and_what(place, save):
    answer = save(OPEN, by="  Ann  ")
    assert answer.status_code == 200
    assert answer.json()["status"] == "corrected"
    with Image.open(place / "data" / "masks" / f"{OPEN}.png") as image:
        assert image.mode == "L"
        assert np.array_equal(np.asarray(image), square() * 255)
    (decision,) = record(place, OPEN)
    assert (decision["action"], decision["by"], decision["seconds"], decision["changed"]) == (
        "corrected",
        "Ann",
        12.5,
        7,
    )
    assert decision["at"].endswith("+00:00")
    dataset = open_dataset(place / "data")
    assert np.array_equal(dataset.read_mask(dataset.case(OPEN)), square())


def test_masks_of_several_classes_are_written_as_class_indices(place):
    card = place / "data" / "dataset.json"
    about = {**json.loads(card.read_text()), "classes": ["background", "lesion", "hair"], "encoding": "index"}
    card.write_text(json.dumps(about))
    for path in (place / "data" / "masks").iterdir():
        Image.fromarray((np.asarray(Image.open(path)) > 0).astype(np.uint8)).save(path)
    dataset = open_dataset(place / "data")
    store = ReviewStore(dataset, load_split(place / "run" / "split.json", dataset))
    store.save_mask(OPEN, square(2), "corrected", store.entry(OPEN).version, Effort())
    again = open_dataset(place / "data")
    assert np.array_equal(again.read_mask(again.case(OPEN)), square(2))


def test_a_second_tab_is_told_who_saved_and_loses_nothing(place, client, save):
    seen = client.get(f"/api/cases/{OPEN}").json()["version"]
    assert save(OPEN, version=seen).status_code == 200
    late = save(OPEN, square() * 0, version=seen, by="Bob")
    assert late.status_code == 409
    assert "Ann saved case_0010 as corrected" in late.json()["error"]
    assert np.asarray(Image.open(place / "data" / "masks" / f"{OPEN}.png")).any()
    assert len(record(place, OPEN)) == 1
    knowing = save(OPEN, square() * 0, by="Bob")
    assert knowing.status_code == 200
    assert np.asarray(Image.open(place / "data" / "review" / "replaced" / f"{OPEN}.2.png")).any()


def test_the_page_of_another_run_on_the_same_dataset_counts_too(place, client, save):
    seen = client.get(f"/api/cases/{OPEN}").json()["version"]
    shutil.copytree(place / "run", place / "other")
    other = ReviewSession(place / "other", place / "data", device="cpu")
    other.store.save_mask(OPEN, square(), "corrected", other.store.entry(OPEN).version, Effort(by="Eve"))
    other.close()
    assert "Eve saved" in save(OPEN, version=seen).json()["error"]


def test_a_mask_edited_outside_the_page_is_not_overwritten_unseen(place, client, save):
    seen = client.get(f"/api/cases/{LABELED}").json()["version"]
    path = place / "data" / "masks" / f"{LABELED}.png"
    Image.fromarray(square() * np.uint8(255)).save(path)
    before = path.read_bytes()
    answer = save(LABELED, version=seen)
    assert answer.status_code == 409
    assert "changed outside this page" in answer.json()["error"]
    assert path.read_bytes() == before


def test_of_many_who_save_at_once_one_succeeds(place, client, save):
    seen = client.get(f"/api/cases/{OPEN}").json()["version"]
    codes: list[int] = []
    threads = [threading.Thread(target=lambda: codes.append(save(OPEN, version=seen).status_code)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [200] + [409] * 7
    assert len(record(place, OPEN)) == 1


def test_what_was_saved_is_there_after_the_process_is_gone(place, save):
    save(OPEN)
    save("case_0011", np.zeros((48, 48), np.uint8), action="accepted")
    again = ReviewSession(place / "run", place / "data", device="cpu")
    assert again.store.names("corrected") == [OPEN]
    assert again.store.names("accepted") == ["case_0011"]
    assert again.status()["reviewed"] == 2
    again.close()


def test_killed_between_record_and_mask_the_case_is_open_again(place, session, monkeypatch):
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store_module, "write_bytes_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        session.store.save_mask(OPEN, square(), "corrected", session.store.entry(OPEN).version, Effort())
    again = ReviewSession(place / "run", place / "data", device="cpu")
    assert again.store.entry(OPEN).status == "open"
    monkeypatch.undo()
    again.store.save_mask(OPEN, square(), "corrected", again.store.entry(OPEN).version, Effort())
    assert again.store.entry(OPEN).status == "corrected"
    again.close()


def test_a_full_disk_leaves_the_record_as_it_was(place, session, monkeypatch):
    def full(*_: object) -> None:
        raise StorageError("no space left to write the mask; free some space.")

    monkeypatch.setattr(store_module, "write_bytes_atomically", full)
    with pytest.raises(StorageError, match="no space"):
        session.store.save_mask(OPEN, square(), "corrected", session.store.entry(OPEN).version, Effort())
    assert record(place, OPEN) == []
    assert session.store.entry(OPEN).status == "open"


def test_rejecting_and_skipping_draw_nothing(place, client):
    for action, name in (("rejected", OPEN), ("skipped", "case_0011")):
        version = client.get(f"/api/cases/{name}").json()["version"]
        answer = client.post(f"/api/cases/{name}/decision", json={"action": action, "version": version})
        assert answer.json()["status"] == action
        assert not (place / "data" / "masks" / f"{name}.png").exists()
    version = client.get(f"/api/cases/{LABELED}").json()["version"]
    answer = client.post(f"/api/cases/{LABELED}/decision", json={"action": "skipped", "version": version})
    assert answer.status_code == 422


def test_a_mask_in_another_format_is_left_alone(place):
    path = place / "data" / "masks" / f"{LABELED}.png"
    Image.open(path).save(path.with_suffix(".bmp"))
    path.unlink()
    again = ReviewSession(place / "run", place / "data", device="cpu")
    with pytest.raises(Exception, match="is not a PNG"):
        again.store.save_mask(LABELED, square(), "corrected", again.store.entry(LABELED).version, Effort())
    assert path.with_suffix(".bmp").exists()
    again.close()


def test_frozen_cases_and_foreign_masks_are_not_in_the_queue(place):
    Image.fromarray(square() * np.uint8(255)).save(place / "data" / "masks" / f"{OPEN}.png")
    again = ReviewSession(place / "run", place / "data", device="cpu")
    assert VAL not in again.store
    assert OPEN not in again.store
    assert again.store.left_alone == 1
    assert len(again.store) == 17
    again.close()


def test_no_image_of_a_frozen_patient_is_reviewed_or_learned_from(place):
    """Its other image is in no part of the split; it stays out, and so of the next round."""
    names = [case.name for case in open_dataset(place / "data").cases]
    rows = [f"{name},{VAL if name == OPEN else name}" for name in names]
    (place / "data" / "groups.csv").write_text("\n".join(["case,group", *rows]))
    dataset = open_dataset(place / "data")
    unlabeled = [name for name in names[6:18] if name != OPEN]
    split = Split.of(dataset, names[:6], unlabeled, names[18:20], names[20:])
    store = ReviewStore(dataset, split)
    assert OPEN not in store
    assert len(store) == 17
    assert training_split(store, dataset, split).unlabeled == unlabeled


def test_all_decisions_about_a_case_took_time(session, save):
    """12.5 s each."""
    save(OPEN)
    save(OPEN)
    assert session.store.seconds() == 25


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_said(place, save):
    (place / "data" / "masks").chmod(0o500)
    answer = save(OPEN)
    (place / "data" / "masks").chmod(0o700)
    assert answer.status_code == 507
    assert "not writable" in answer.json()["error"]


def test_a_mask_that_was_replaced_is_never_replaced_itself(place, save):
    """Once the record is gone the numbers begin anew; the original stays."""
    assert save(LABELED).status_code == 200
    kept = place / "data" / "review" / "replaced" / f"{LABELED}.1.png"
    original = kept.read_bytes()
    (place / "data" / "review" / f"{LABELED}.json").unlink()
    assert save(LABELED, square()[::-1].copy()).status_code == 409, "somebody removed the record meanwhile"
    assert save(LABELED, square()[::-1].copy()).status_code == 200
    assert kept.read_bytes() == original
    assert kept.with_name(f"{LABELED}.2.png").exists()


def test_nobody_is_let_through_while_another_saves(session, monkeypatch):
    """Whoever was let through waits for a second one, who must not come."""
    checked, met, saved = ReviewStore._checked, threading.Barrier(2), []

    def meet(self, name, version):
        found = checked(self, name, version)
        with suppress(threading.BrokenBarrierError):
            met.wait(0.5)
        return found

    def save(version=session.store.entry(OPEN).version):
        with suppress(ConflictError):
            saved.append(session.store.save_mask(OPEN, square(), "corrected", version, Effort()))

    monkeypatch.setattr(ReviewStore, "_checked", meet)
    threads = [threading.Thread(target=save) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(saved) == 1
