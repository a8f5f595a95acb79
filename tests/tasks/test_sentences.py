from hypothesis import given
from hypothesis import strategies as st

from regard.tasks.sentences import join_sentences, split_sentences


def without_space(text: str) -> str:
    return "".join(text.split())


@given(st.text(alphabet="aB1 .!?。！？…\"'”」)\n\t", max_size=60))
def test_splitting_loses_no_character_but_white_space_and_leaves_no_blank_sentence(text):
    sentences = split_sentences(text)
    assert without_space("".join(sentences)) == without_space(text)
    assert all(sentence and sentence == sentence.strip() for sentence in sentences)


def test_latin_sentences_end_at_a_mark_with_white_space_behind_it():
    text = 'It is 3.14 cm. "Really?" he asked! No … yes (of course.) End'
    assert split_sentences(text) == ["It is 3.14 cm.", '"Really?"', "he asked!", "No …", "yes (of course.)", "End"]


def test_chinese_sentences_end_without_white_space():
    assert split_sentences("你好。“走吧！”他说。好") == ["你好。", "“走吧！”", "他说。", "好"]


def test_a_line_end_is_a_sentence_end():
    assert split_sentences("one\ntwo\n\nthree") == ["one", "two", "three"]


def test_sentences_are_joined_with_a_space_but_not_after_chinese():
    assert join_sentences(["One.", "Two.", "你好。", "再见。", "End."]) == "One. Two. 你好。再见。End."
    assert join_sentences([]) == ""
    assert join_sentences(["a", "", "b"]) == "a b"
