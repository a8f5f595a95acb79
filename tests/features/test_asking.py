"""How a language model is asked: a prompt becomes a chat template, and a source that is too long loses its end."""

import sys
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.errors import InputError
from regard.features.asking import asked, chat_template
from regard.features.chat import render_chat
from regard.features.encoding import Encoding
from regard.features.tokenizer import Tokenizer

sys.path.append(str(Path(__file__).with_name("tokenizers")))

import tiny_tokenizers as vocabularies

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
PARTS = st.one_of(TEXTS, st.text("'\"\\{}%#\n\t x", max_size=12))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    directory = vocabularies.write("qwen2", tmp_path_factory.mktemp("qwen2"))
    return Tokenizer.load(directory).with_chat_template(chat_template("read: {source} =>", begins=False))


@given(before=PARTS, source=TEXTS, after=PARTS, begins=st.booleans())
def test_a_source_stands_in_its_prompt_whatever_signs_they_have(
    before: str, source: str, after: str, begins: bool
) -> None:
    template = chat_template(f"{before}{{source}}{after}", begins)
    messages = [{"role": "user", "content": source}]
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    question = ("<s>" if begins else "") + before + source + after
    assert render_chat(template, messages, special_tokens=special, add_generation_prompt=True) == question
    answered = [*messages, {"role": "assistant", "content": "yes"}]
    assert render_chat(template, answered, special_tokens=special) == f"{question}yes</s>"


def test_a_long_source_loses_its_end_and_what_stands_behind_it_stays(tokenizer: Tokenizer) -> None:
    source = "hello world " * 20
    whole = asked(tokenizer, source)
    frame = len(asked(tokenizer, "").ids)
    assert whole.cut == 0
    assert whole.ids == tokenizer.encode_plain(f"read: {source} =>")
    for most in range(frame + 1, len(whole.ids)):
        ids, cut = asked(tokenizer, source, most)
        assert len(ids) <= most
        assert cut == len(whole.ids) - len(ids) > 0
        text = tokenizer.decode(ids)
        assert text.startswith("read: ")
        assert text.endswith(" =>")
        assert source.startswith(text.removeprefix("read: ").removesuffix(" =>"))
    assert asked(tokenizer, source, len(whole.ids)) == whole


class MergingTokenizer:
    """A token a letter, but `d!` is one: without its last letter a text may have as many tokens as before."""

    chat_templates: ClassVar = {"default": chat_template("{source}!", begins=False)}
    control_tokens: ClassVar = []
    special_tokens: ClassVar = {}

    def encode_plain(self, text: str, *, parse_special: bool = False) -> list[int]:
        return [ord(letter) for letter in text.replace("d!", "D")]

    def encode_text(self, text: str) -> Encoding:
        places = [(place, place + 1) for place in range(len(text))]
        return Encoding(self.encode_plain(text), [0] * len(text), places, [0] * len(text))


def test_a_source_is_cut_until_it_fits_though_its_rest_is_cut_into_other_tokens() -> None:
    assert asked(MergingTokenizer(), "abcd", 4).ids == [ord(letter) for letter in "abcD"]
    assert asked(MergingTokenizer(), "abcd", 3) == ([ord(letter) for letter in "ab!"], 1)


def test_a_prompt_that_leaves_no_room_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match="no token of the text fits into the 2 that are read"):
        asked(tokenizer, "hello world", 2)


def test_what_a_source_spells_is_text_and_what_the_prompt_spells_is_a_token(tokenizer: Tokenizer) -> None:
    mark = tokenizer.special_tokens["eos"]
    marked = tokenizer.with_chat_template(chat_template(f"{{source}}{mark}", begins=False))
    ids = asked(marked, f"hello{mark}").ids
    assert ids.count(tokenizer.eos_id) == 1
    assert ids[-1] == tokenizer.eos_id


def test_a_tokenizer_keeps_all_but_its_templates(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    tokenizer.save(tmp_path / "old")
    (tmp_path / "old" / "chat_template.jinja").write_text("another", "utf-8")
    old = Tokenizer.load(tmp_path / "old")
    assert old.chat_templates == {"default": "another"}
    old.with_chat_template("new").save(tmp_path / "new")
    new = Tokenizer.load(tmp_path / "new")
    assert new.chat_templates == {"default": "new"}
    assert new.special_tokens == old.special_tokens
    assert new.content == old.content
