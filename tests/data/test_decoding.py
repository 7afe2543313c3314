"""Images decoded in the background are the ones asked for, at once, and a bad one is known as soon as it is seen."""

import os
import sys
import threading

import pytest
import torch
from torch import Tensor

from criinet.data.decoding import Decoding
from criinet.errors import DataError


class Decoder:
    """Makes images that hold their index, none but ``free`` ones before ``open`` is set, and notes what it made."""

    def __init__(self, free: set[int] | None = None, bad: int | None = None) -> None:
        self.free, self.bad, self.open, self.made = free or set(), bad, threading.Event(), []

    def __call__(self, index: int) -> Tensor:
        if index not in self.free:
            assert self.open.wait(20)
        self.made.append(index)
        if index == self.bad:
            raise DataError(f"{index}.png is damaged.")
        return torch.tensor(index)


def test_every_image_is_decoded_once_and_lies_at_its_place():
    decode = Decoder()
    decode.open.set()
    images = Decoding(decode, 50)
    assert [int(image) for image in images] == list(range(50))
    assert [int(images[i]) for i in (7, 3, 7)] == [7, 3, 7]
    assert sorted(decode.made) == list(range(50))
    assert len(images) == 50


def test_an_image_is_there_before_those_ahead_of_it():
    decode = Decoder(free={199})
    images = Decoding(decode, 200)
    assert int(images[199]) == 199, "all threads wait for the first images meanwhile"
    assert decode.made == [199]
    decode.open.set()
    assert int(images[0]) == 0
    assert [int(image) for image in images] == list(range(200))
    assert decode.made.count(199) == 1


def test_a_bad_image_is_raised_by_whichever_is_taken_next():
    decode = Decoder(bad=3)
    decode.open.set()
    images = Decoding(decode, 400)
    images.pool.shutdown(wait=True)
    with pytest.raises(DataError, match=r"3\.png is damaged"):
        _ = images[300]
    assert len(decode.made) < 400, "nothing is decoded after it"


def test_a_bad_image_that_is_taken_early_is_raised_too():
    decode = Decoder(free={90}, bad=90)
    images = Decoding(decode, 91)
    with pytest.raises(DataError, match=r"90\.png"):
        _ = images[90]
    decode.open.set()


def test_after_a_stop_images_are_decoded_when_they_are_taken():
    decode = Decoder(free={150})
    images = Decoding(decode, 200)
    images.stop()
    decode.open.set()
    images.pool.shutdown(wait=True)
    begun = len(decode.made)
    assert begun < 150
    assert int(images[150]) == 150
    assert len(decode.made) == begun + 1


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux alone")
def test_decoding_goes_behind_the_training_and_not_behind_everybody():
    """On a machine that others keep busy a thread of the lowest priority would hardly run, with everybody waiting."""

    def priority(_: int = 0) -> Tensor:
        return torch.tensor(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    images = Decoding(priority, 1)
    images.pool.shutdown(wait=True)
    assert 0 < int(images[0]) - int(priority()) <= 5
