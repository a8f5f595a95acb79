"""Sizes and keys that are rare, and that Transformers reads."""

import numpy as np
import pytest

from regard.errors import CheckpointError
from regard.models.family import Config
from regard.models.rope import read_rope
from regard.specs import RelativeSpec, RotarySpec
from regard.specs.tables import bucket_of_distance


@pytest.mark.parametrize(
    ("bidirectional", "wanted"),
    [(True, [0, 1, 1, 1, 1] + 16 * [2]), (False, [0, 1, 2, 3, 3, 4, 4, 4, 5, 5, 5, 5, 5] + 8 * [6])],
)
def test_an_odd_number_of_buckets_is_halved_downwards(bidirectional, wanted):
    np.testing.assert_array_equal(bucket_of_distance(RelativeSpec(7, 20), bidirectional), wanted)


def test_a_partial_rotation_is_ignored_without_scaling_and_refused_with_it():
    """As in Transformers, whose default rates are for the whole of a head."""
    said = {"rope_theta": 500.0, "partial_rotary_factor": 0.5}
    assert read_rope(Config({"rope_parameters": {**said, "rope_type": "default"}}), 16) == RotarySpec(500.0)
    with pytest.raises(CheckpointError, match="partial_rotary_factor other than 1 is not supported with 'linear'"):
        read_rope(Config({"rope_parameters": {**said, "rope_type": "linear", "factor": 2.0}}), 16)
