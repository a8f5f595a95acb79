"""`regard inspect` over checkpoints of all forms: what it says, and that it builds no network for that."""

import json
import math
import re
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

from regard.cli import main

CASES = Path(__file__).with_name("parity") / "cases"
sys.path.append(str(Path(__file__).with_name("tasks")))

from tiny_writers import write  # noqa: E402


@pytest.fixture
def inspect(capsys):
    """The output of `regard inspect`, its wrapped lines made one."""

    def run(place, *arguments):
        assert main(["inspect", str(place), *arguments]) == 0
        return capsys.readouterr().out

    return run


def stored(directory: Path) -> int:
    """How many numbers the files hold."""
    count = 0
    for path in directory.glob("*.safetensors"):
        with safe_open(path, framework="np") as file:
            count += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return count


@pytest.mark.parametrize(
    ("case", "task", "said"),
    [
        ("vit-image-class", "classify-image", ["reads images: ", " patches of ", "labels of the whole"]),
        ("bert-token-class", "tag", ["reads tokens: vocabulary 67", "5 labels of each token"]),
        ("bert-sequence-class-multi-label", "classify", ["labels of the whole (any of them)"]),
        ("bert-question-answering", "answer", ["head: where an answer begins and ends"]),
        ("bert-masked-lm", "fill-mask", ["head: predicts masked tokens, by the embedding's table"]),
        ("whisper-transcription", "transcribe", ["reads sounds: 7 mels a frame", "writes tokens: vocabulary 80"]),
        ("vision-encoder-decoder-captioning", "caption", ["reads images: 8 x 8", "writes tokens: vocabulary 67"]),
        (
            "clip-similarity",
            "similarity",
            ["texts: reads tokens", "images: reads images", "images: head: one vector"],
        ),
        ("t5-seq2seq-gated-silu", "", ["relative positions in 8 buckets", "(silu, gated)", "pre-norm (rms)"]),
        ("llama-language-model-rope-linear", "", ["for keys and values)", "rotary positions (theta", "linear x"]),
        ("mistral-language-model", "", ["a window of "]),
        ("vit-bare", "none; regard.load_model", ["head: a pooler"]),
    ],
)
def test_each_form_is_said_in_words_with_the_task_that_it_is_for(inspect, case, task, said):
    out = inspect(CASES / case)
    assert f"\ntasks: {task}" in out
    joined = " ".join(out.split())
    assert not [words for words in said if words not in joined]


@pytest.mark.parametrize("case", ["vit-image-class", "bert-token-class", "sharded-gpt2", "bfloat16-llama"])
def test_the_parameters_are_those_of_all_files_together(inspect, case):
    out = inspect(CASES / case)
    assert f"\n{stored(CASES / case):,} parameters: " in out
    rows = [line.split() for line in out.splitlines() if line.startswith(("encoder/", "decoder/", "head/"))]
    assert sum(int(row[-2].replace(",", "")) for row in rows) == stored(CASES / case)


def test_the_dtype_that_is_stored_has_its_size_beside_that_of_float32(inspect, tmp_path):
    assert re.search(r"parameters: [\d.]+ MB in float32, [\d.]+ MB in bfloat16, ", inspect(CASES / "bfloat16-llama"))
    assert "MB in float32, 0.0 MB on disk" in inspect(CASES / "bert-bare")


def test_weights_lists_every_variable_of_both_towers(inspect):
    out = inspect(CASES / "clip-similarity", "--weights")
    assert re.search(r"\ntext_encoder/embedding/table +67x12 +804\n", out)
    assert re.search(r"\nimage_encoder/layer_2/feed_forward/up/kernel +15x21 +315\n", out)


def test_labels_have_their_names_and_many_are_counted(inspect, tmp_path):
    for file in (CASES / "vit-image-class").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    count = len(config["id2label"])
    config["id2label"] = {str(number): f"kind {number}" for number in range(count)}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert f"{count} labels of the whole: kind 0, kind 1" in " ".join(inspect(tmp_path).split())
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": 8, "width": 12}, "image_mean": [0.5]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    assert 'inputs: ViTImageProcessor, size {"height": 8, "width": 12}, image_mean [0.5]' in inspect(tmp_path)


def test_a_translator_without_a_tokenizer_json_shows_its_languages_and_what_it_decodes_with(inspect, tmp_path):
    write("marian", tmp_path / "marian", {"num_beams": 5, "no_repeat_ngram_size": 3})
    out = inspect(tmp_path / "marian")
    assert "tasks: translate" in out
    assert "tokenizer: SentencePiece, 72 tokens; eos 0, unk 1, pad 71" in out
    assert "target languages: de, fr\n" in out
    assert "source languages" not in out
    assert "decoding: num_beams 5, no_repeat_ngram_size 3" in out
    ro = 232
    write("mbart50", tmp_path / "mbart", {"forced_bos_token_id": ro})
    joined = " ".join(inspect(tmp_path / "mbart").split())
    assert "gl_ES, sl_SI (default ro_RO) source languages: the same" in joined


def test_a_tokenizer_of_another_model_is_said_and_the_rest_is_shown(inspect, tmp_path):
    write("m2m_100", tmp_path, vocab_size=300)
    joined = " ".join(inspect(tmp_path).split())
    assert "the tokenizer is another model's: its vocabulary is 423, but the model's is 300" in joined
    assert "parameters: " in joined
    write("t5", tmp_path / "t5", eos_token_id=5)
    assert "its eos id is 1, but the model's is 5" in " ".join(inspect(tmp_path / "t5").split())


def test_tensors_that_do_not_fit_are_one_line(tmp_path, capsys):
    write("t5", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_layers": 2}))
    assert main(["inspect", str(tmp_path)]) == 2
    assert "tensors missing: encoder.block.1.layer.0.SelfAttention.k.weight" in capsys.readouterr().err


def test_a_run_file_that_is_not_there_is_said_to_be_none(capsys):
    assert main(["inspect", "none.toml"]) == 2
    assert capsys.readouterr().err == "regard: cannot read the run file none.toml: No such file or directory\n"


def test_sentence_transformers_directories_embed(inspect):
    out = inspect(CASES / "sentence-bert-mean")
    assert "\ntasks: embed\n" in out
    assert "bert: encoder" in out


@pytest.mark.parametrize("case", ["vit-image-class", "clip-similarity", "whisper-transcription", "pegasus-seq2seq"])
def test_no_network_is_built_and_keras_is_not_imported(fresh_python, case):
    code = (
        f"import sys\nfrom regard.cli import main\nassert main(['inspect', {str(CASES / case)!r}]) == 0\n"
        "assert not {'keras', 'tensorflow'} & set(sys.modules)"
    )
    finished = fresh_python(code)
    assert finished.returncode == 0, finished.stderr
