import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regard.errors import ConfigError
from regard.tasks.tag import TokenTagger

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "MISC")
TAG_OF = {"ada": 1, "lovelace": 2, "london": 3, "paris": 3, "天": 3, "气": 4, "😀": 5, "cafe": 5, "##s": 5, "##er": 0}


@pytest.fixture
def tagger(reader, words):
    """A word has always the tag of the table, with the probability 6 / 11."""

    def tags(ids):
        names = [words.tokens([token])[0] for token in ids]
        return {"logits": [[np.log(6.0) if tag == TAG_OF.get(name, 0) else 0.0 for tag in range(6)] for name in names]}

    def make(**config):
        named = {str(number): label for number, label in enumerate(LABELS)}
        return TokenTagger(reader(tags, "BertForTokenClassification", id2label=named, **config), words, LABELS)

    return make


def found(tags):
    return [(entity.label, entity.text, entity.start) for entity in tags.entities]


def test_tokens_of_one_label_are_one_entity_and_b_begins_another(tagger):
    text = "Ada Lovelace wrote in London, Paris."
    tags = tagger()(text)
    assert found(tags) == [("PER", "Ada Lovelace", 0), ("LOC", "London", 22), ("LOC", "Paris", 30)]
    assert all(text[entity.start : entity.end] == entity.text for entity in tags.entities)
    assert [entity.score for entity in tags.entities] == pytest.approx([6 / 11] * 3)
    assert found(tagger()("ada ada lovelace")) == [("PER", "ada", 0), ("PER", "ada lovelace", 4)]


def test_the_characters_are_exact_in_chinese_emoji_and_combined_letters(tagger):
    assert found(tagger()("天气 好")) == [("LOC", "天气", 0)]
    assert found(tagger()("a 😀 b")) == [("MISC", "😀", 2)]
    assert found(tagger()("x cafe\u0301 y")) == [("MISC", "cafe\u0301", 2)]
    assert found(tagger()("  London  ")) == [("LOC", "London", 2)]


def test_a_words_first_or_surest_token_may_speak_for_it(tagger):
    assert found(tagger()("adaer")) == [("PER", "ada", 0)]
    for aggregation in ("first", "max"):
        assert found(tagger()("adaer", aggregation=aggregation)) == [("PER", "adaer", 0)]
    with pytest.raises(ConfigError, match="aggregation must be one of simple, first, max, but is 'mean'"):
        tagger()("a", aggregation="mean")


def test_ignored_labels_are_the_callers(tagger):
    assert [label for label, *_ in found(tagger()("a ada b", ignore_labels=()))] == ["O", "PER", "O"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["a", "ada", "lovelace", "london", "cafes", "."]), max_size=40), st.integers(4, 12))
def test_windows_change_nothing_where_a_tag_hangs_on_its_word_alone(tagger, names, max_length):
    text, whole = " ".join(names), tagger()
    one, other = whole(text), whole(text, max_length=max_length)
    assert other.entities == one.entities
    assert (other.windows > 1) == (len(whole.tokenizer.encode(text)) > max_length)


def test_batches_keep_the_order_and_an_empty_text_has_no_entity(tagger):
    texts = ["a", "", "ada lovelace wrote the first program", "london"]
    together = tagger(positions=6)(texts, batch_tokens=8)
    assert [found(tags) for tags in together] == [[], [], [("PER", "ada lovelace", 0)], [("LOC", "london", 0)]]
    assert together[2].as_json()["entities"][0]["label"] == "PER"


@pytest.mark.parametrize("max_length", [None, 6])
def test_a_words_tag_is_that_of_its_first_token_in_whatever_window(tagger, max_length):
    words = ["ada", "cafes", "in", "paris", "a", "b", "c", "lovelace"]
    tagged = tagger().word_tags([words, ["london"]], max_length=max_length)
    assert tagged == [["B-PER", "MISC", "O", "B-LOC", "O", "O", "O", "I-PER"], ["B-LOC"]]
