"""docs/migrate.md is run: each line of its tables, on small checkpoints of the kinds that it names, in this process."""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

import regard
from regard.cli import main
from regard.config import TokenizerConfig
from regard.features.tokenizer import Tokenizer
from regard.interop.checkpoints import save_model
from regard.models.catalog import family
from regard.models.family import Config
from regard.models.forms import build_model

TESTS = Path(__file__).parent
sys.path += [str(TESTS / "tasks"), str(TESTS / "tasks" / "speech")]

import tiny_writers  # noqa: E402
import whispers  # noqa: E402

PAGE = (TESTS.parent / "docs" / "migrate.md").read_text("utf-8")
CASES = TESTS / "parity" / "cases"
WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a b c ada wrote the first program in london who".split()
BERT = {"hidden_size": 6, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8}
BERT["max_position_embeddings"] = 32
GPT2 = {"n_embd": 8, "n_head": 2, "n_layer": 1, "n_positions": 64}
TEMPLATE = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
AS_IT_IS = {"do_center_crop": False, "do_rescale": True, "do_normalize": True}


def table(heading: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip("|"))] for row in rows]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def make(directory: Path, **config) -> None:
    spec = family(config["model_type"]).from_config(Config(dict(config)))
    save_model(build_model(spec), directory)


def make_bert(directory: Path, architecture: str, **config) -> None:
    make(directory, model_type="bert", architectures=[architecture], vocab_size=len(WORDS), **BERT, **config)
    (directory / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS))
    (directory / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')


def make_gpt2(directory: Path, **config) -> None:
    trained = Tokenizer.train(["a b c hello"] * 3, TokenizerConfig(vocab_size=300))
    roles = {f"{role}_token": token for role, token in trained.special_tokens.items()}
    tokenizer = Tokenizer(trained.content, {**roles, **config})
    ids = {"vocab_size": tokenizer.vocab_size, "eos_token_id": tokenizer.eos_id, "bos_token_id": tokenizer.eos_id}
    make(directory, model_type="gpt2", architectures=["GPT2LMHeadModel"], **GPT2, **ids)
    tokenizer.save(directory)


def take_case(directory: Path, case: str) -> None:
    """A recorded checkpoint, with a tokenizer of its numbers as words, and a processor that resizes to its size."""
    shutil.copytree(CASES / case, directory)
    config = json.loads((directory / "config.json").read_text())
    vision = config.get("vision_config") or config.get("encoder") or config
    size = vision["image_size"]
    height, width = size if isinstance(size, list) else (size, size)
    processor = {**AS_IT_IS, "size": {"height": height, "width": width}}
    (directory / "preprocessor_config.json").write_text(json.dumps(processor))
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    words = {str(n): n for n in range(60)} | {"a": 60, "cat": 61, "dog": 62}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [{"id": 0, "content": "0", "special": True, **flags}],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "0"},
        **dict.fromkeys(("truncation", "padding", "normalizer")),
    }
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "0"}
    (directory / "tokenizer_config.json").write_text(json.dumps(said))


@pytest.fixture(scope="module")
def estate(tmp_path_factory):
    """A directory with everything that the page names."""
    root = tmp_path_factory.mktemp("estate")
    make_bert(root / "bert", "BertForMaskedLM")
    make_bert(root / "sentiment", "BertForSequenceClassification")
    make_bert(root / "entities", "BertForTokenClassification")
    make_bert(root / "squad", "BertForQuestionAnswering")
    make_gpt2(root / "gpt2")
    make_gpt2(root / "chat", chat_template=TEMPLATE)
    tiny_writers.write("t5", root / "t5", task_specific_params=tiny_writers.T5_TASKS)
    tiny_writers.write("nllb", root / "nllb")
    take_case(root / "vit", "vit-image-class")
    shutil.copytree(CASES / "encoder-decoder-bert", root / "bert2bert")
    take_case(root / "vit-gpt2", "vision-encoder-decoder-captioning")
    take_case(root / "clip", "clip-similarity")
    whispers.write(root / "whisper", 1)
    Image.fromarray(np.arange(40 * 30 * 3, dtype=np.uint8).reshape(40, 30, 3)).save(root / "photo.png")
    soundfile.write(root / "talk.wav", whispers.sound(1, 0.8), whispers.RATE)
    return root


def batch_for(model) -> dict[str, np.ndarray]:
    """Something that a model reads."""
    ids = np.array([[6, 7, 8]])
    batch = {"input_ids": ids}
    if model.spec.form == "pair":
        image = model.spec.images.source
        return batch | {"pixel_values": np.zeros((1, image.image_height, image.image_width, image.channels), "f")}
    source = model.spec.source
    if source is not None and hasattr(source, "mels"):
        batch = {"input_features": np.zeros((1, 2 * source.positions.max_positions, source.mels), "f")}
    elif source is not None:
        batch = {"pixel_values": np.zeros((1, source.image_height, source.image_width, source.channels), "f")}
    return batch | {"decoder_input_ids": ids} if model.spec.form == "encoder-decoder" else batch


@pytest.mark.parametrize("row", table("Classes"), ids=lambda row: row[0])
def test_each_class_is_loaded_and_fills_what_the_page_says(row, estate, monkeypatch):
    monkeypatch.chdir(estate)
    model = eval(code(row[1])[0])
    output = model(batch_for(model))
    for field in code(row[2]):
        assert getattr(output, field) is not None, field


def pipelines() -> list[Any]:
    """Those that write compile a search twice; of them three run each time, and all with `make test-full`."""
    waits = ("text2text", "summarization", "mBART", "messages", "speech")
    marks = [[pytest.mark.full] if any(word in row[0] for word in waits) else [] for row in table("Pipelines")]
    return [pytest.param(row, id=row[0], marks=mark) for row, mark in zip(table("Pipelines"), marks, strict=True)]


@pytest.mark.parametrize("row", pipelines())
def test_each_pipeline_runs_from_python_and_from_the_command_line(row, estate, monkeypatch, capsys):
    monkeypatch.chdir(estate)
    result = eval(code(row[1])[0])
    if hasattr(result, "as_json"):
        json.dumps(result.as_json())
    program, *arguments = shlex.split(code(row[2])[0])
    assert program == "regard"
    assert main([*arguments, "--json"]) == 0
    printed = capsys.readouterr().out
    assert [json.loads(line) for line in printed.splitlines()]


def test_checkpoints_are_read_saved_and_converted_as_the_page_says(estate, monkeypatch, capsys):
    monkeypatch.chdir(estate)
    model = regard.load_model("./bert")
    regard.save_model(model, "./saved")
    assert regard.load_model("./saved").spec == model.spec
    assert main(["convert", "./bert", "./bert-new"]) == 0
    assert regard.load_model("./bert-new").spec == model.spec
    Path("pickled").mkdir()
    shutil.copy("bert/config.json", "pickled")
    Path("pickled/pytorch_model.bin").write_bytes(b"x")
    assert main(["convert", "./pickled", "./new"]) == 2
    assert "weights_only=True" in capsys.readouterr().err
    with pytest.raises(regard.RegardError, match="save_model"):
        model.save("x.keras")


def test_the_options_that_the_page_lists_exist_and_others_are_named(estate):
    section = PAGE.split("\n## `generate`\n")[1].split("\n\n| ")[0]
    names = [name for listed in re.findall(r"`([a-z_ \n]+)`", section) for name in listed.split() if "_" in name]
    assert len(names) > 25
    fields = regard.GenerationOptions.__dataclass_fields__
    assert not [name for name in names if name not in fields and name != "do_sample"]
    model = regard.load_model(estate / "gpt2")
    with pytest.raises(regard.RegardError, match="did you mean num_beams"):
        model.generate({"input_ids": [[5]]}, num_beam=2)
    trie = regard.TokenTrie.of([(7, 8), (7, 9)])
    found = model.generate({"input_ids": [[5]]}, max_new_tokens=2, trie=trie, return_scores=True)
    assert found.sequences[0, 0].tolist() in ([7, 8], [7, 9])
    assert found.scores.shape == (1, 1)
    *_, last = model.generate_stream({"input_ids": [[5]]}, max_new_tokens=2)
    assert last.sequences.shape == (1, 1, 2)


def test_the_commands_of_a_run_are_those_that_exist(estate, monkeypatch, capsys):
    """The rows on OpenNMT-tf, on a run of a few steps."""
    monkeypatch.chdir(estate)
    pairs = "good morning\tguten Morgen\ngood evening\tguten Abend\nthank you\tdanke\n"
    Path("pairs.tsv").write_text(pairs)
    Path("src.txt").write_text("good morning\nthank you\n")
    corpus = '[{ tsv = "pairs.tsv" }]'
    Path("run.toml").write_text(
        f"""
[data]
train = {corpus}
validation = {corpus}
test = {corpus}
[tokenizer]
vocab_size = 300
[model]
preset = "tiny"
width = 16
heads = 2
ffn_width = 16
encoder_depth = 1
decoder_depth = 1
[training]
steps = 2
average = "last"
batch_tokens = 256
schedule = {{ name = "constant", peak = 1e-3, warmup_steps = 1 }}
[decoding]
max_new_tokens = 4
"""
    )
    commands = [command for row in table("OpenNMT-tf") for command in code(row[1]) if command.startswith("regard ")]
    assert len(commands) == 6
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, (command, capsys.readouterr().err)
    assert (estate / "runs/first/metrics.jsonl").is_file()
    assert (estate / "exported/engine.json").is_file()
