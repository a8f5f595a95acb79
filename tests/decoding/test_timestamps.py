"""Whisper's rules on timestamps against the same, written token by token."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.decoding import numpy_ops as ops
from regard.decoding.options import GenerationOptions
from regard.decoding.timestamps import TimestampRule

EOS, NONE, BEGIN, V = 5, 7, 8, 14  # text, eos, <|notimestamps|>, timestamps
GENERATED = st.lists(st.integers(0, V - 1), max_size=6)


def by_definition(scores, ids, latest_first):
    allowed = {token for token in range(V) if token != NONE}
    stamps = [token for token in ids if token >= BEGIN]
    last = bool(ids) and ids[-1] >= BEGIN
    before = len(ids) < 2 or ids[-2] >= BEGIN
    if last and before:
        allowed -= set(range(BEGIN, V))
    if last and not before:
        allowed -= set(range(EOS))
    if stamps:
        allowed -= set(range(BEGIN, max(stamps) + (0 if last and not before else 1)))
    if not ids:
        allowed = set(range(BEGIN, V if latest_first is None else BEGIN + latest_first + 1))
    together = sum(math.exp(scores[token]) for token in allowed if token >= BEGIN)
    if together > max((math.exp(scores[token]) for token in allowed if token < BEGIN), default=0.0):
        allowed -= set(range(BEGIN))
    return allowed


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 10_000), GENERATED, st.sampled_from([None, 0, 2]))
def test_timestamps_come_in_pairs_and_never_fall(seed, ids, latest_first):
    scores = (np.random.default_rng(seed).standard_normal(V) * 2).astype("float32")
    row = np.array([[[*ids, *[-1] * (7 - len(ids))]]], "int32")
    rule = TimestampRule(BEGIN, EOS, NONE, latest_first)
    found = rule(scores[None, None], row, np.int32(len(ids)), ops)[0, 0]
    allowed = by_definition(scores, ids, latest_first)
    np.testing.assert_array_equal(found, [scores[t] if t in allowed else -math.inf for t in range(V)])


@pytest.mark.parametrize("beams", [1, 3])
def test_a_search_keeps_to_the_rule(scripted, found_in, beams):
    model = scripted((1, 2, 3), V, 0, 0.5)
    options = GenerationOptions(max_new_tokens=14, num_beams=beams, eos_token_id=EOS)
    found = model.search(options, rule=TimestampRule(BEGIN, EOS, NONE, 2))
    assert sum((sequence >= BEGIN).sum() for sequence in found.sequences) > 6
    for row in range(3):
        (sequence,) = found_in(found, row)
        stamps = [token for token in sequence if token >= BEGIN]
        assert BEGIN <= sequence[0] <= BEGIN + 2
        assert stamps == sorted(stamps)
        assert NONE not in sequence
