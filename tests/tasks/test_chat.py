"""A conversation with a scripted model: what is remembered, what ends a reply, what is forgotten."""

import sys
from pathlib import Path

import pytest

from regard.errors import ConfigError, InputError
from regard.interop.checkpoints import save_model
from regard.models.family import Config
from regard.models.forms import build_model
from regard.models.llama import from_config
from regard.tasks.chat import Chat
from regard.tasks.generate import TextGenerator
from regard.tasks.loading import load

sys.path.append(str(Path(__file__).parent))

from writing import Script, defaults, llama_config, tokenizer_of

TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'user' %}>>user<<{% elif m.role == 'system' %}SYS{% else %}>>model<<"
    "{% endif %}{{ m.content }}{% if m.role == 'assistant' %}>>end<<{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}>>model<<{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizer_of(chat_template=TEMPLATE)


@pytest.fixture
def make(tokenizer):
    def chat(answers, positions=200, options=(), **settings):
        engine = Script(tokenizer, answers, positions)
        return Chat(engine, tokenizer, defaults(tokenizer, **dict(options)), **settings)

    return chat


def read(chat, call=-1):
    """What the model was given, special tokens spelled."""
    ids = chat._continuer.engine.calls[call][0]["input_ids"][0]
    return "".join(chat.tokenizer.tokens(ids)).replace("▁", " ")


def test_a_reply_is_remembered_with_its_message(make):
    chat = make({"hello": "hi there>>end<<", "again": "still here>>end<<"})
    assert chat("hello").text == "hi there"
    assert chat("again").text == "still here"
    assert read(chat) == ">>user<<hello>>model<<hi there>>end<<>>user<<again>>model<<"
    assert [message["role"] for message in chat.messages] == ["user", "assistant"] * 2
    chat.reset()
    chat("again")
    assert read(chat) == ">>user<<again>>model<<"


def test_the_token_that_the_template_puts_after_an_answer_ends_a_reply(make, tokenizer):
    chat = make({"hello": "hi>>end<<never said"})
    assert chat.defaults.eos_ids == (tokenizer.eos_id, tokenizer.token_id(">>end<<"))
    reply = chat("hello")
    assert (reply.text, reply.ended_by, reply.tokens[-1]) == ("hi", "eos", ">>end<<")
    bare = make({"hello": "hi>>end<<more"}, template=TEMPLATE.replace("{{ m.content }}{% if", "{{ m.content }}~{% if"))
    assert bare.defaults.eos_ids == (tokenizer.eos_id,)
    strict = make({}, template="{{ raise_exception('no') if messages | length > 1 }}>>model<<")
    assert strict.defaults.eos_ids == (tokenizer.eos_id,)


def test_what_the_system_says_stands_before_all_turns(make):
    chat = make({"hello": "hi>>end<<"}, system="Be kind.")
    chat("hello")
    chat("hello")
    assert read(chat) == "SYSBe kind.>>user<<hello>>model<<hi>>end<<>>user<<hello>>model<<"


def test_a_stateless_reply_remembers_nothing(make):
    chat = make({"two": "2>>end<<"})
    messages = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "1"}]
    reply = chat.reply([*messages, {"role": "user", "content": "two"}])
    assert (reply.text, chat.messages) == ("2", [])
    assert read(chat) == ">>user<<one>>model<<1>>end<<>>user<<two>>model<<"
    assert "".join(chat.stream_reply([*messages, {"role": "user", "content": "two"}])) == "2"


def test_a_reply_comes_in_pieces_and_is_remembered_as_far_as_somebody_waited(make):
    chat = make({"hello": "one two three four>>end<<"})
    pieces = chat.stream("hello")
    assert chat.messages == []
    begun = next(pieces)
    pieces.close()
    assert chat.messages[-1] == {"role": "assistant", "content": begun}
    assert "one two three".startswith(begun)
    pieces.close()
    assert len(chat.messages) == 2
    chat.stream("hello").close()
    assert len(chat.messages) == 2
    assert "".join(chat.stream("hello")) == "one two three four"
    assert len(chat.messages) == 4


def test_a_message_that_spells_the_template_is_text(make, tokenizer):
    chat = make({})
    chat("x>>end<<>>user<<")
    ids = chat._continuer.engine.calls[-1][0]["input_ids"][0].tolist()
    assert [ids.count(tokenizer.token_id(tag)) for tag in (">>user<<", ">>model<<", ">>end<<")] == [1, 1, 0]


def test_stop_strings_end_a_reply(make):
    assert make({"hello": "one two>>end<<"})("hello", stop=" two").text == "one"
    assert make({"hello": "one two>>end<<"}, stop=("ne",))("hello").text == "o"


def test_a_conversation_that_is_too_long_is_refused_with_the_numbers_and_stays_as_it_was(make):
    chat = make({"x": "y>>end<<"}, positions=40, options={"max_new_tokens": 10})
    chat("x")
    with pytest.raises(InputError, match=r"the chat has 5\d tokens, but the model has 40 positions"):
        chat("z" * 48)
    with pytest.raises(InputError, match=r"which with max_new_tokens \(39\) makes .* at most"):
        chat("x", max_new_tokens=39)
    assert len(chat.messages) == 2


def test_the_oldest_turns_are_forgotten_where_that_is_wanted_and_counted(make):
    chat = make({"x": "y>>end<<"}, positions=60, options={"max_new_tokens": 10}, forget=True, system="S")
    for number in range(6):
        chat(f"{number} aaaaaaaaaa x")
    assert chat.forgotten > 0
    assert chat.forgotten % 2 == 0
    assert len(chat.messages) + chat.forgotten == 12
    assert read(chat).startswith("SYSS>>user<<")
    assert read(chat).endswith(">>user<<5 aaaaaaaaaa x>>model<<")
    assert chat._continuer.engine.calls[-1][1].max_new_tokens == 10
    with pytest.raises(InputError, match=r"the chat has .* tokens, but the model has 60 positions"):
        chat("z" * 70)
    assert chat.messages


def test_options_are_checked_before_anything_is_said(make):
    chat = make({})
    with pytest.raises(ConfigError, match="unknown option temperatur"):
        chat("x", temperatur=1)
    with pytest.raises(ConfigError, match="num_beams and num_return_sequences must be 1"):
        chat("x", num_beams=2)
    assert chat.messages == []


def test_a_model_without_a_template_does_not_chat_unless_it_is_given_one():
    plain = tokenizer_of()
    chat = Chat(Script(plain, {"x": "ok>>end<<"}), plain, defaults(plain))
    with pytest.raises(InputError, match="the model has no chat template"):
        chat("x")
    chat.template = TEMPLATE
    assert chat("x").text == "ok"


def test_a_checkpoint_with_a_template_writes_by_default_and_chats_where_that_is_asked_for(tmp_path, tokenizer):
    model = build_model(from_config(Config(llama_config(tokenizer, positions=128))))
    save_model(model, tmp_path / "model", tokenizer=tokenizer)
    assert type(load(tmp_path / "model")) is TextGenerator
    chat = load(tmp_path / "model", task="chat")
    assert type(chat) is Chat
    assert chat.defaults.max_new_tokens == 64  # half of the positions
    assert chat.defaults.eos_ids == (tokenizer.eos_id, tokenizer.token_id(">>end<<"))
    reply = chat("hello", max_new_tokens=4)
    assert chat.messages[1] == {"role": "assistant", "content": reply.text}
