"""Which words a language model goes on with in its report."""

from types import SimpleNamespace

import pytest

from regard.explain.run_samples import samples_of


class Repeater:
    """A language model that says how often it was asked, and reads a word as a token."""

    tokenizer = SimpleNamespace(encode_text=lambda text: SimpleNamespace(ids=text.split()))

    def __init__(self, max_tokens: int | None = None) -> None:
        self.max_tokens, self.asked = max_tokens, []

    def __call__(self, prompts, max_new_tokens, **_):
        self.asked.append((prompts, max_new_tokens))
        return [SimpleNamespace(text=f" {place}") for place in range(len(prompts))]


def items(*texts):
    return [SimpleNamespace(inputs={"text": text}) for text in texts]


@pytest.mark.parametrize(
    ("text", "beginning"),
    [
        ("one two three four five six seven eight nine", "one two three four five six seven eight"),
        ("two words", "two words"),
        ("a word that is cut where " + "long" * 20, "a word that is cut where"),
        ("无空格的文字" * 20, "无空格的文字" * 10),
        (
            " .. code::\n\n   of the documentation is long enough for this",
            " .. code::\n\n   of the documentation is long enough",
        ),
    ],
)
def test_a_sample_begins_with_whole_words_of_a_text(text, beginning):
    assert [(sample.prompt, sample.text) for sample in samples_of("language-model", Repeater(), items(text))] == [
        (beginning, " 0")
    ]


def test_what_leaves_no_room_is_left_out_and_all_others_get_as_much():
    task = Repeater(max_tokens=7)
    found = samples_of("language-model", task, items("a b c d e f g h", "a b", "a b c", "a b"))
    assert [sample.prompt for sample in found] == ["a b", "a b c"]
    assert task.asked == [(["a b", "a b c"], 4)]
    assert samples_of("language-model", task, items("a b c d e f g h")) == []
    assert samples_of("translate", task, items("a")) == []
