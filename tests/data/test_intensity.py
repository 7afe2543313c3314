"""Which values of a volume become black and white."""

from dataclasses import replace

import numpy as np
import pytest

from criinet.data.formats import Volume
from criinet.data.geometry import Geometry
from criinet.data.intensity import limits_of


def test_a_z_score_leaves_out_the_air():
    """Of 90, 110 and much air the mean is 100 and the sd 10: from 3 sd below to 5 above."""
    values = np.zeros((4, 10, 10), np.int16)
    values[0, :, :5], values[0, :, 5:] = 90, 110
    assert limits_of(Volume(values, Geometry.unknown()), "z-score") == pytest.approx((70, 150))


def test_a_window_is_the_files_own_or_percentiles():
    """.5 % of 0 to 1000 is 5."""
    ramp = Volume(np.arange(1001.0).reshape(7, 11, 13), Geometry.unknown())
    assert limits_of(ramp, "window") == pytest.approx((5, 995))
    assert limits_of(replace(ramp, window=(100.0, 200.0)), "window") == (100, 200)
    assert limits_of(replace(ramp, window=(100.0, 200.0)), "range", (-160.0, 240.0)) == (-160, 240)
