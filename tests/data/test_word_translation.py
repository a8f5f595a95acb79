"""What a token translates to, counted in pairs."""

import numpy as np
import pytest

from regard.data import word_translation
from regard.data.word_translation import Texts, likeliest, most_frequent, word_translations
from regard.errors import DataError

NOTHING = "nothing"


def texts(lists):
    return Texts(np.array([token for row in lists for token in row], np.int32), np.array([len(row) for row in lists]))


def by_definition(pairs, vocab_size, iterations):
    """Brown et al. 1993, section 4.1, with dictionaries: t(target | source)."""
    t = {(s, f): 1.0 for source, target in pairs for s in (*source, NOTHING) for f in target}
    for _ in range(iterations):
        counts = dict.fromkeys(t, 0.0)
        for source, target in pairs:
            for f in target:
                total = sum(t[s, f] for s in (*source, NOTHING))
                for s in (*source, NOTHING):
                    counts[s, f] += t[s, f] / total
        sums = {s: sum(count for (of, _), count in counts.items() if of == s) for s, _ in t}
        t = {(s, f): count / sums[s] for (s, f), count in counts.items()}
    return {pair: chance for pair, chance in t.items() if pair[0] != NOTHING}


@pytest.mark.parametrize("cells", [1, 9, 10**6])
@pytest.mark.parametrize("seed", range(3))
def test_the_table_is_that_of_the_definition_however_the_pairs_are_cut(monkeypatch, seed, cells):
    monkeypatch.setattr(word_translation, "CELLS", cells)
    draw = np.random.default_rng(seed)
    pairs = [tuple(draw.integers(0, 7, draw.integers(0, 5)).tolist() for _ in range(2)) for _ in range(12)]
    found = word_translations(texts([p[0] for p in pairs]), texts([p[1] for p in pairs]), 7, iterations=3)
    expected = by_definition([pair for pair in pairs if all(pair)], 7, 3)
    table = dict(
        zip(zip(found.sources.tolist(), found.targets.tolist(), strict=True), found.probabilities, strict=True)
    )
    assert table.keys() == expected.keys()
    for pair, chance in expected.items():
        assert table[pair] == pytest.approx(chance, rel=1e-4, abs=1e-6)


def test_a_dictionary_that_was_made_up_is_found_again():
    """Words translate to one word or to two, in any order, among function words and some noise."""
    draw, words, first = np.random.default_rng(1), 120, 130
    dictionary = draw.permutation(words) + first
    second = {word: first + words + word for word in range(0, words, 5)}  # every fifth has two
    sources, targets = [], []
    for _ in range(3000):
        source = draw.choice(words, draw.integers(3, 10)).tolist()
        target = [dictionary[word] for word in source] + [second[word] for word in source if word in second]
        target += [first + 2 * words + token for token in draw.integers(0, 3, 2)]  # said by nothing
        sources.append([*source, words])  # an end in both
        targets.append([*draw.permutation(target).tolist(), words])
    vocab_size = first + 2 * words + 3
    table = word_translations(texts(sources), texts(targets), vocab_size)
    best = likeliest(table, vocab_size, 3)
    for word in range(words):
        expected = {dictionary[word], *([second[word]] if word in second else [])}
        assert set(best[word, : len(expected)].tolist()) == expected
    assert (best[first:] == -1).all()  # what no source has
    sums = np.bincount(table.sources, table.probabilities)
    np.testing.assert_allclose(sums[sums > 0], 1, rtol=1e-4)


def test_the_likeliest_fall_and_of_equal_ones_the_lower_id_comes_first():
    table = word_translation.WordTranslations(
        np.array([0, 0, 0, 0, 2]), np.array([1, 2, 3, 4, 0]), np.float32([0.2, 0.4, 0.2, 0.0, 1.0])
    )
    np.testing.assert_array_equal(likeliest(table, 3, 2), [[2, 1], [-1, -1], [0, -1]])
    np.testing.assert_array_equal(likeliest(table, 3, 5)[0], [2, 1, 3, -1, -1])


def test_the_most_frequent_are_counted_and_those_that_never_come_left_out():
    counted = texts([[3, 1, 3], [2, 1, 3], [0]])
    np.testing.assert_array_equal(most_frequent(counted, 9, 3), [3, 1, 0])
    np.testing.assert_array_equal(most_frequent(counted, 9, 99), [3, 1, 0, 2])


def test_pairs_of_nothing_are_refused():
    with pytest.raises(DataError, match="there is none with tokens on both sides"):
        word_translations(texts([[], [1]]), texts([[2], []]), 3)
