"""What benchmarks/decode.py decodes: checkpoints with random weights, SmolLM2 from its package, and their inputs.

A random network has a real one's speed but no text in it, and repeats itself. GPT-2 writes as many tokens as it may; so
does, nearly always, the translator (the Transformer base in Marian's layout, with OPUS-MT's vocabulary), whose sources
have the lengths of the sentences of this repository's documents.
"""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
PAD, EOS = 58100, 0
GPT2 = {"model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12}
BASE = {
    "model_type": "marian",
    "vocab_size": PAD + 1,
    "d_model": 512,
    "encoder_layers": 6,
    "decoder_layers": 6,
    "encoder_attention_heads": 8,
    "decoder_attention_heads": 8,
    "encoder_ffn_dim": 2048,
    "decoder_ffn_dim": 2048,
    "max_position_embeddings": 512,
    "activation_function": "swish",
    "scale_embedding": True,
    "pad_token_id": PAD,
    "eos_token_id": EOS,
    "decoder_start_token_id": PAD,
    "forced_eos_token_id": EOS,
}
CONFIGS = {"gpt2": ("GPT2LMHeadModel", GPT2), "base": ("MarianMTModel", BASE)}
SPREAD = 0.08  # of the weights


class Work(NamedTuple):
    """One row of the table."""

    model: str
    rows: int  # texts, or for `one_by_one` how many of them one after the other
    beams: int
    new_tokens: int  # at most
    one_by_one: bool = False  # timed each by itself

    @property
    def ends(self) -> bool:
        """Whether texts may end before `new_tokens`."""
        return self.model == "base"


WORKS = {
    "gpt2-1": Work("gpt2", 1, 1, 128),
    "gpt2-32": Work("gpt2", 32, 1, 128),
    "base-32": Work("base", 32, 4, 32),
    "base-1": Work("base", 40, 4, 32, one_by_one=True),
    "smollm2-1": Work("smollm2", 1, 1, 128),
}


def make_model(name: str, directory: Path) -> Path:
    """A checkpoint in `directory`, or the packaged one: its path."""
    from safetensors.numpy import save_file

    from regard.interop.packaged import packaged
    from regard.models.catalog import family
    from regard.models.family import Config

    if name == "smollm2":
        return packaged(name)
    if directory.exists():
        return directory
    architecture, values = CONFIGS[name]
    config = {**values, "architectures": [architecture]}
    known = family(config["model_type"])
    spec = known.from_config(Config(dict(config)))
    random, tensors = np.random.default_rng(0), {}
    for rule in known.rules(spec):
        spread = 0.0 if rule.path.endswith("bias") else SPREAD
        value = random.normal(0, spread, rule.shape).astype(np.float32)
        tensors |= rule.split(np.ones_like(value) if rule.path.endswith("scale") else value)
    tensors |= {name: made().astype(np.float32) for name, made in known.constants(spec).items()}
    if name == "base":
        bias = np.zeros((1, spec.text.vocab_size), np.float32)
        bias[0, PAD] = -1e4
        tensors["final_logits_bias"] = bias
        for name, value in tensors.items():
            if value.shape == (spec.text.vocab_size, spec.text.width):
                tensors[name] = np.where(np.arange(len(value))[:, None] == PAD, 0, value)  # as Marian has it
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(config))
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def batches(work: Work) -> list[dict[str, np.ndarray]]:
    """What every side is given, call by call: the same ids, padded on the right."""
    random = np.random.default_rng(2)
    if work.model != "base":
        top = 50000 if work.model == "gpt2" else 40000
        ids = random.integers(20, top, (work.rows, 32))
        return [{"input_ids": ids, "attention_mask": np.ones_like(ids)}]
    lengths = random.choice(sentence_lengths(), work.rows, replace=False)
    texts = [random.integers(1, PAD, length) for length in lengths]
    return [_padded([text]) for text in texts] if work.one_by_one else [_padded(texts)]


def _padded(texts: list[np.ndarray]) -> dict[str, np.ndarray]:
    lengths = np.array([len(text) for text in texts])
    mask = (np.arange(lengths.max()) < lengths[:, None]).astype(int)
    ids = np.full(mask.shape, PAD)
    ids[mask == 1] = np.concatenate(texts)
    return {"input_ids": ids, "attention_mask": mask}


def sentence_lengths() -> np.ndarray:
    """How many subwords the sentences of the documents have: a word is one for each five letters."""
    prose = "\n".join(path.read_text("utf-8") for path in sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")]))
    prose = re.sub(r"```.*?```|^\s*[|#].*?$", " ", prose, flags=re.DOTALL | re.MULTILINE)
    sentences = [re.findall(r"\w+|[^\w\s]", text) for text in re.split(r"(?<=[.!?:])\s+", prose)]
    lengths = [sum(-(-len(word) // 5) for word in words) + 1 for words in sentences]  # and eos
    return np.array([length for length in lengths if 4 <= length <= 80])


def weight_bytes(config: dict[str, Any], bits: float) -> float:
    """What a decoding step of a GPT-2 must read: every matrix once, of the tables the tied one alone."""
    width, layers = config["n_embd"], config["n_layer"]
    return (config["vocab_size"] * width + 12 * layers * width**2) * bits / 8


def ctranslate2_model(model: Path) -> Path:
    """By CTranslate2's own loaders, with the tokens t0, t1, ... for a vocabulary. Runs where CTranslate2 is."""
    from ctranslate2.converters import transformers as convert

    target = model.parent / f"{model.name}-ct2"
    if target.exists():
        return target
    config = json.loads((model / "config.json").read_text())
    vocabulary = {f"t{i}": i for i in range(config["vocab_size"])}
    if "pad_token_id" in config:
        pad, eos = config["pad_token_id"], f"t{config['eos_token_id']}"
        del vocabulary[f"t{pad}"]
        vocabulary["<pad>"] = pad  # by which its converter knows the row that CTranslate2 does without
    else:
        eos = "t50256"

    class Tokens:
        """What a converter asks of a tokenizer."""

        bos_token, unk_token, pad_token = "t50256", "t1", "<pad>"
        eos_token = eos
        added_tokens_encoder: dict[str, int] = {}  # noqa: RUF012  # as the converter expects it
        encoder = vocabulary

        def get_vocab(self) -> dict[str, int]:
            return vocabulary

    class Plain(convert.TransformersConverter):  # random weights have no tokenizer
        def load_tokenizer(self, *_: Any, **__: Any) -> Any:
            return Tokens()

        def load_model(self, *given: Any, **named: Any) -> Any:
            found = super().load_model(*given, **named)
            if config["model_type"] == "pegasus":  # what its loader reads, and Transformers says no more
                found.config.normalize_before, found.config.normalize_embedding = True, False
            return found

    Plain(str(model)).convert(str(target))
    return target


def genai_model(model: Path, target: Path, weights: Any) -> None:
    """The network as OpenVINO GenAI reads it: the graph that Regard's own engine runs, with logits for its only
    result."""
    import openvino as ov
    from openvino import opset13 as op

    from regard.export.openvino_graphs import decoder_graph
    from regard.export.openvino_model import _weights
    from regard.interop.described import described
    from regard.interop.opening import open_checkpoint

    found = described(open_checkpoint(model))
    graph = decoder_graph(found.spec, _weights(found), weights)
    logits = next(result for result in graph.get_results() if "logits" in result.get_output_tensor(0).get_names())
    apart = op.unsqueeze(logits.input_value(0), op.constant(np.array([1], np.int64)))
    result = op.result(apart)
    result.get_output_tensor(0).set_names({"logits"})
    inputs = []
    for port in graph.get_parameters():
        name = port.get_friendly_name()
        if name in ("input_ids", "attention_mask", "position_ids"):  # GenAI gives int64
            wide = op.parameter(port.get_partial_shape(), np.int64, name=name)
            wide.get_output_tensor(0).set_names({name})
            port.output(0).replace(op.convert(wide, np.int32).output(0))
            inputs.append(wide)
        elif name == "last":  # it reads the last token's
            port.output(0).replace(op.constant(np.array([1], np.int64)).output(0))
        elif name == "beam_idx":
            inputs.append(port)
    named = ov.Model([result], graph.get_sinks(), inputs, graph.get_variables(), "gpt2")
    target.mkdir()
    ov.save_model(named, target / "openvino_model.xml", compress_to_fp16=False)
    (target / "config.json").write_text((model / "config.json").read_text())


def gguf_model(model: Path, target: Path) -> None:
    """GPT-2 as llama.cpp reads it, its matrices in Q8_0; token i is the word ` i`."""
    import gguf
    from safetensors.numpy import load_file

    config, tensors = json.loads((model / "config.json").read_text()), load_file(model / "model.safetensors")
    writer = gguf.GGUFWriter(target, "gpt2")
    writer.add_block_count(config["n_layer"])
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_feed_forward_length(4 * config["n_embd"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"\u0120{i}" for i in range(config["vocab_size"])])  # how a byte-level BPE writes a space
    writer.add_token_types([gguf.TokenType.NORMAL] * config["vocab_size"])
    writer.add_token_merges(["\u0120 1"])  # none would be refused
    writer.add_bos_token_id(config["vocab_size"] - 1)
    writer.add_eos_token_id(config["vocab_size"] - 1)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT2, config["n_layer"])
    for name, value in tensors.items():
        if name.endswith((".attn.bias", "masked_bias")):
            continue
        stem, _, kind = name.rpartition(".")
        written = f"{names.get_name(stem)}.{kind}"
        value = value.T if value.ndim == 2 and stem.endswith(("c_attn", "c_proj", "c_fc")) else value
        quantized = value.ndim == 2 and not written.startswith("position_embd")
        kept = gguf.GGMLQuantizationType.Q8_0 if quantized else gguf.GGMLQuantizationType.F32
        writer.add_tensor(written, gguf.quants.quantize(np.ascontiguousarray(value, np.float32), kept), raw_dtype=kept)
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
