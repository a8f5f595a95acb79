"""From the tokens of frames to a text."""

import itertools

import numpy as np

from regard.decoding.frames import collapsed

BLANK = 3


def test_runs_are_one_token_and_blanks_are_none_but_keep_equal_tokens_apart():
    frames = np.array([[3, 1, 1, 3, 1, 2, 2, 3], [3] * 8, [0] * 8, [0, 3, 0, 0, 3, 3, 0, 1]])
    assert list(collapsed(frames, BLANK)) == [[1, 1, 2], [], [0], [0, 0, 0, 1]]


def test_every_path_of_four_frames_says_what_the_paper_s_map_says():
    paths = np.array(list(itertools.product(range(BLANK + 1), repeat=4)))
    for path, text in zip(paths, collapsed(paths, BLANK), strict=True):
        runs = [token for token, _ in itertools.groupby(path.tolist())]
        assert text == [token for token in runs if token != BLANK]
