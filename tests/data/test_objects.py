"""Objects of a volume: the largest stays, and only of the classes that were named."""

import numpy as np

from criinet.components import largest_component
from criinet.data.objects import keep_largest, largest_shares


def labels() -> np.ndarray:
    """Class 1: five voxels, of which one touches by a corner alone, and two apart; class 2: three and three."""
    drawn = np.zeros((3, 6, 8), np.uint8)
    drawn[0, 0, :4] = 1
    drawn[1, 1, 4] = 1
    drawn[2, 5, 6:] = 1
    drawn[0, 3, :3] = 2
    drawn[2, 0, 5:] = 2
    return drawn


def test_voxels_that_touch_at_a_corner_are_one_object():
    kept = largest_component(labels() == 1)
    assert kept.sum() == 5
    assert kept[1, 1, 4]
    assert not kept[2].any()


def test_of_equal_objects_the_one_that_ends_first_is_kept():
    drawn = np.zeros((3, 2, 4), np.uint8)
    drawn[:, 0, 0] = 1
    drawn[1, :, 2:] = 1
    drawn[1, 1, 3] = 0
    expected = drawn.copy()
    expected[:, 0, 0] = 0
    keep_largest(drawn, (1,))
    np.testing.assert_array_equal(drawn, expected)


def test_only_the_named_classes_lose_their_smaller_objects():
    kept = labels()
    keep_largest(kept, (1,))
    expected = labels()
    expected[2, 5, 6:] = 0
    np.testing.assert_array_equal(kept, expected)
    keep_largest(kept, (2, 3))
    expected[2, 0, 5:] = 0
    np.testing.assert_array_equal(kept, expected)


def test_nothing_stays_nothing():
    nothing = np.zeros((2, 3, 4), np.uint8)
    keep_largest(nothing, (1, 2))
    assert not nothing.any()


def test_a_class_is_shared_by_its_objects():
    """Class 1 has five voxels of seven in one object, class 2 three of six, and class 3 none; -1 is no class."""
    assert largest_shares(labels()) == {1: 5 / 7, 2: 1 / 2}
    assert largest_shares(np.where(labels() == 1, -1, labels().astype(np.int16))) == {2: 1 / 2}
    assert largest_shares(np.zeros((2, 3, 4), np.uint8)) == {}
