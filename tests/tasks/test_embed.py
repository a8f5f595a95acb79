import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from regard.errors import CheckpointError, InputError
from regard.tasks.embed import Embedder, Habits, read_habits
from regard.tasks.sentence_modules import MODULES, POOLINGS, mean, read_modules, unit

TEXTS = ["the first program", "a", "who wrote the first program in london ?", "天 气 好", "a b"]


def hidden(ids):
    return {"last_hidden_state": [[token, 1, -token / 3] for token in ids]}


@pytest.fixture
def embedder(reader, words):
    return Embedder(reader(hidden), words)


def test_a_plain_encoder_gives_the_mean_of_its_real_tokens(embedder, words):
    for text, embedding in zip(TEXTS, embedder(TEXTS), strict=True):
        ids = words.encode(text)
        np.testing.assert_allclose(embedding.vector, [np.mean(ids), 1, -np.mean(ids) / 3], rtol=1e-6)
        assert (embedding.tokens, embedding.cut) == (len(ids), 0)
        assert embedding.vector.dtype == np.float32


def test_neither_order_nor_batch_changes_a_vector(embedder):
    together = embedder.vectors(TEXTS)
    np.testing.assert_array_equal(embedder.vectors(TEXTS[::-1])[::-1], together)
    np.testing.assert_array_equal(embedder.vectors(TEXTS, batch_tokens=1), together)
    np.testing.assert_array_equal(embedder(TEXTS[2]).vector, together[2])


def test_what_is_cut_is_counted(reader, words):
    short = Embedder(reader(hidden, positions=4), words)
    whole, cut = short(["a b", "a b c x"])
    assert (whole.tokens, whole.cut, cut.tokens, cut.cut) == (4, 0, 4, 2)
    np.testing.assert_array_equal(whole.vector, cut.vector)
    assert cut.as_json() == {"embedding": cut.vector.tolist(), "tokens": 4, "cut": 2}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("cls", 2), ("max", 7), ("mean", 4), ("mean_sqrt_len_tokens", 12 / 3**0.5), ("weightedmean", 29 / 6)],
)
def test_each_pooling_is_what_it_is_called(mode, expected):
    values = np.array([[2], [3], [7]], np.float32)  # weighted: (2 + 6 + 21) / 6
    np.testing.assert_allclose(POOLINGS[mode](values), [expected], rtol=1e-6)
    np.testing.assert_array_equal(POOLINGS["lasttoken"](values), [7])


def test_similarity_is_the_cosine_of_two_texts_or_of_all_with_all(embedder):
    one, other = embedder.vectors(["a", "london"])
    expected = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert embedder.similarity("a", "london") == pytest.approx(expected, abs=1e-6)
    table = embedder.similarity(["a", "london", "x"], ["london", "a"])
    assert table.shape == (3, 2)
    np.testing.assert_allclose(table[:2], [[expected, 1], [1, expected]], atol=1e-6)


@pytest.mark.parametrize(("measure", "expected"), [("dot", 11), ("euclidean", -(8**0.5)), ("manhattan", -4)])
def test_a_checkpoint_may_say_another_measure(embedder, measure, expected):
    embedder.habits = Habits(similarity=measure)
    a, b = np.array([[1, 2]], np.float32), np.array([[3, 4]], np.float32)
    np.testing.assert_allclose(embedder.compare(a, b), [[expected]], rtol=1e-6)


def test_prompts_and_lower_case_are_the_checkpoints(reader, words):
    habits = Habits(True, {"query": "who ", "none": ""}, "query")
    prompted, plain = Embedder(reader(hidden), words, (mean,), habits), Embedder(reader(hidden), words)
    np.testing.assert_array_equal(prompted("WROTE").vector, plain("who wrote").vector)
    np.testing.assert_array_equal(prompted("wrote", prompt="none").vector, plain("wrote").vector)
    with pytest.raises(InputError, match="no prompt 'passage': it has query, none"):
        prompted("wrote", prompt="passage")


def sentence_directory(path, modules, **files):
    path.mkdir(exist_ok=True)
    kinds = [{"type": f"sentence_transformers.models.{kind}", "path": name} for kind, name in modules]
    (path / MODULES).write_text(json.dumps(kinds))
    for name, content in files.items():
        (path / name).mkdir(exist_ok=True)
        (path / name / "config.json").write_text(json.dumps(content))
    return path


def test_the_modules_of_a_directory_are_applied_in_their_order(tmp_path):
    modules = [("Transformer", ""), ("Pooling", "1"), ("Dense", "2"), ("Normalize", "3")]
    pooling = {"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    dense = {"in_features": 4, "out_features": 2, "bias": True, "activation_function": "torch.nn.modules.ReLU"}
    directory = sentence_directory(tmp_path, modules, **{"1": pooling, "2": dense})
    weight, bias = np.array([[1, 0, 2, 0], [0, 1, 0, -9]], np.float32), np.array([1, 1], np.float32)
    save_file({"linear.weight": weight, "linear.bias": bias}, directory / "2" / "model.safetensors")
    encoder, after = read_modules(directory)
    assert encoder == directory
    vector = np.array([[1, 2], [3, 6]], np.float32)
    for module in after:
        vector = module(vector)
    np.testing.assert_allclose(vector, unit(np.array([3 + 2 * 2 + 1, 0], np.float32)))  # max 3, 6; mean 2, 4


def test_newer_directories_name_the_poolings_and_older_ones_keep_the_encoder_deeper(tmp_path):
    modules = [("Transformer", "0_Transformer"), ("Pooling", "1")]
    directory = sentence_directory(tmp_path, modules, **{"1": {"pooling_mode": ["lasttoken", "cls"]}})
    encoder, (pooling,) = read_modules(directory)
    assert encoder == directory / "0_Transformer"
    np.testing.assert_array_equal(pooling(np.array([[1], [2], [3]], np.float32)), [3, 1])


@pytest.mark.parametrize(
    ("modules", "files", "complaint"),
    [
        ([("Transformer", ""), ("WordWeights", "1")], {}, "unknown module 'WordWeights'"),
        ([("Transformer", "../other")], {}, r"must name directories beside it, but names '\.\./other'"),
        ([("Transformer", "..")], {}, "must name directories beside it"),
        ([("Pooling", "1")], {"1": {}}, "the first module, and no other, must be a Transformer"),
        ([], {}, "names nothing"),
        ([("Transformer", ""), ("Pooling", "1")], {"1": {"pooling_mode": "median"}}, "unknown pooling 'median'"),
        (
            [("Transformer", ""), ("Dense", "1")],
            {"1": {"activation_function": "os.system"}},
            "unknown activation 'system'",
        ),
    ],
)
def test_what_is_not_known_or_leads_elsewhere_is_refused(tmp_path, modules, files, complaint):
    with pytest.raises(CheckpointError, match=complaint):
        read_modules(sentence_directory(tmp_path, modules, **files))


def test_habits_are_read_with_suspicion(tmp_path):
    (tmp_path / "sentence_bert_config.json").write_text('{"do_lower_case": true}')
    defaults = tmp_path / "config_sentence_transformers.json"
    defaults.write_text('{"prompts": {"q": "query: "}, "default_prompt_name": "q", "similarity_fn_name": "dot"}')
    assert read_habits(tmp_path, tmp_path) == Habits(True, {"q": "query: "}, "q", "dot")
    defaults.write_text('{"similarity_fn_name": "os.system"}')
    with pytest.raises(CheckpointError, match=r"unknown similarity_fn_name 'os\.system'"):
        read_habits(tmp_path, tmp_path)
