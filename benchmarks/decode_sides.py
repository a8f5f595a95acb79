"""The sides of benchmarks/decode.py: each loads a model its own way, and gives what writes a batch's texts.

A side is imported in a process of its own, and imports nothing of the others.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from decode_models import EOS, PAD, Work

Batch = dict[str, np.ndarray]
Write = Callable[[Batch, int], list[Any]]  # a batch, tokens at most -> a row's ids, or its text
THREADS = os.cpu_count() or 1


class Side(NamedTuple):
    """One way to decode."""

    load: Callable[[Path, Work], Write]
    precision: str  # of the weights: "float32", "16 bits" or "8 bits"
    models: tuple[str, ...]  # that it is for
    file: str  # of the model, beside the checkpoint; "" for the checkpoint itself
    python: str = "regard"  # its interpreter; "torch" has CTranslate2 too, "runtimes" OpenVINO GenAI and llama.cpp
    settings: tuple[tuple[str, str], ...] = ()  # environment variables


def regard_openvino(dtype: str) -> Callable[[Path, Work], Write]:
    def load(model: Path, work: Work) -> Write:
        from regard.export.openvino_model import load_openvino

        return _regard(load_openvino(model), work)

    return load


def regard_tensorflow(dtype: str) -> Callable[[Path, Work], Write]:
    def load(model: Path, work: Work) -> Write:
        import regard

        return _regard(regard.load_model(model, dtype=dtype), work)

    return load


def _regard(engine: Any, work: Work) -> Write:
    options: dict[str, Any] = {"num_beams": work.beams, "early_stopping": True}
    if not work.ends:
        options |= {"eos_token_id": (), "forced_eos_token_id": (), "bad_words_ids": ()}

    def write(batch: Batch, new: int) -> list[Any]:
        found = engine.generate(batch, max_new_tokens=new, **options)
        return [ids[:length].tolist() for ids, length in zip(found.sequences[:, 0], found.lengths[:, 0], strict=True)]

    return write


def transformers(dtype: str) -> Callable[[Path, Work], Write]:
    def load(model: Path, work: Work) -> Write:
        import torch
        from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

        torch.set_num_threads(THREADS)
        kind = AutoModelForSeq2SeqLM if work.ends else AutoModelForCausalLM
        where: dict[str, Any] = {"pretrained_model_name_or_path": model}
        if model.suffix == ".gguf":
            where = {"pretrained_model_name_or_path": model.parent, "gguf_file": model.name}
        found = kind.from_pretrained(**where, dtype=getattr(torch, dtype)).eval()
        options: dict[str, Any] = {"num_beams": work.beams, "do_sample": False}
        if work.ends:
            options |= {"early_stopping": True, "bad_words_ids": [[PAD]]}
        else:
            found.generation_config.eos_token_id, options["pad_token_id"] = None, 0

        def write(batch: Batch, new: int) -> list[Any]:
            tensors = {name: torch.tensor(value) for name, value in batch.items()}
            with torch.inference_mode():
                ids = found.generate(**tensors, max_new_tokens=new, **options).numpy()
            start = 1 if work.ends else batch["input_ids"].shape[1]
            return [_until_eos(row, work) for row in ids[:, start:].tolist()]

        return write

    return load


def _until_eos(row: list[int], work: Work) -> list[int]:
    """With eos, where a text may end."""
    return row[: row.index(EOS) + 1] if work.ends and EOS in row else row


def ctranslate2(compute_type: str, workers: int = 1) -> Callable[[Path, Work], Write]:
    def load(model: Path, work: Work) -> Write:
        import ctranslate2
        from decode_models import ctranslate2_model

        how: dict[str, Any] = {"intra_threads": THREADS // workers, "inter_threads": workers}
        apart = {"max_batch_size": -(-work.rows // workers)} if workers > 1 else {}
        path = str(ctranslate2_model(model))
        if work.ends:
            translator = ctranslate2.Translator(path, compute_type=compute_type, **how)
        else:
            generator = ctranslate2.Generator(path, compute_type=compute_type, **how)

        def write(batch: Batch, new: int) -> list[Any]:
            tokens = [[f"t{token}" for token in row] for row in _rows(batch)]
            if not work.ends:
                greedy = {"sampling_topk": 1, "include_prompt_in_result": False}
                found = generator.generate_batch(tokens, max_length=new, min_length=new, **greedy, **apart)
                return [entry.sequences_ids[0] for entry in found]
            asked = {"beam_size": work.beams, "max_decoding_length": new, "length_penalty": 1}
            results = translator.translate_batch(tokens, **asked, **apart, disable_unk=False)
            texts = [[int(token[1:]) for token in entry.hypotheses[0]] for entry in results]
            return [text if len(text) == new else [*text, EOS] for text in texts]

        return write

    return load


def _rows(batch: Batch) -> list[list[int]]:
    pairs = zip(batch["input_ids"], batch["attention_mask"], strict=True)
    return [ids[mask == 1].tolist() for ids, mask in pairs]


def openvino_genai(backend: str) -> Callable[[Path, Work], Write]:
    def load(model: Path, work: Work) -> Write:
        import openvino as ov
        import openvino_genai as genai

        pipeline = genai.LLMPipeline(str(model), "CPU", ATTENTION_BACKEND=backend, INFERENCE_NUM_THREADS=THREADS)
        end = {"ignore_eos": True, "eos_token_id": 50256, "stop_token_ids": {50256}}  # which it insists to know

        def write(batch: Batch, new: int) -> list[Any]:
            config = genai.GenerationConfig(max_new_tokens=new, min_new_tokens=new, do_sample=False, **end)
            given = genai.TokenizedInputs(*(ov.Tensor(batch[key]) for key in ("input_ids", "attention_mask")))
            return [list(row) for row in pipeline.generate(given, config).tokens]

        return write

    return load


def llama_cpp(model: Path, work: Work) -> Write:
    """By the wheel xllamacpp. It gives text, in which a token of the random GPT-2 is the word ` i`."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_parallel = work.rows
    params.n_ctx = (work.new_tokens + 64) * work.rows
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
    params.warmup = False
    params.verbosity = -1
    server = xllamacpp.Server(params)

    def write(batch: Batch, new: int) -> list[Any]:
        asked = {"n_predict": new, "temperature": 0, "top_k": 1, "ignore_eos": True, "cache_prompt": False}
        found = server.handle_completions({"prompt": _rows(batch), "stream": False, **asked})
        texts = [choice["text"] for choice in sorted(found["choices"], key=lambda choice: choice["index"])]
        return [list(map(int, text.split())) for text in texts] if work.model == "gpt2" else texts

    return write


def _has(flag: str) -> bool:
    return flag in Path("/proc/cpuinfo").read_text()


ISA = ("CT2_FORCE_CPU_ISA", "AVX512" if _has("avx512f") else "AVX2")
_ALL, _OURS_ALONE = ("gpt2", "base"), ("gpt2", "base", "smollm2")
SIDES = {
    "regard openvino float32": Side(regard_openvino("float32"), "float32", _OURS_ALONE, "openvino-float32"),
    "regard openvino bfloat16": Side(regard_openvino("bfloat16"), "16 bits", _OURS_ALONE, "openvino-bfloat16"),
    "regard openvino int8": Side(regard_openvino("int8"), "8 bits", _OURS_ALONE, "openvino-int8"),
    "regard tensorflow float32": Side(regard_tensorflow("float32"), "float32", _OURS_ALONE, ""),
    "regard tensorflow bfloat16": Side(regard_tensorflow("bfloat16"), "16 bits", _OURS_ALONE, ""),
    "transformers float32": Side(transformers("float32"), "float32", _OURS_ALONE, "", "torch"),
    "transformers bfloat16": Side(transformers("bfloat16"), "16 bits", _OURS_ALONE, "", "torch"),
    "ctranslate2 float32": Side(ctranslate2("float32"), "float32", _ALL, "", "torch", (ISA,)),
    "ctranslate2 int8": Side(ctranslate2("int8"), "8 bits", _ALL, "", "torch", (ISA,)),
    "ctranslate2 int8, mkl": Side(ctranslate2("int8"), "8 bits", _ALL, "", "torch", (ISA, ("CT2_USE_MKL", "1"))),
    "ctranslate2 int8, 2 workers": Side(ctranslate2("int8", 2), "8 bits", _ALL, "", "torch", (ISA,)),
    "openvino genai float32": Side(openvino_genai("SDPA"), "float32", ("gpt2",), "genai-float32", "runtimes"),
    "openvino genai int8": Side(openvino_genai("SDPA"), "8 bits", ("gpt2",), "genai-int8", "runtimes"),
    "openvino genai int8, paged": Side(openvino_genai("PA"), "8 bits", ("gpt2",), "genai-int8", "runtimes"),
    "llama.cpp": Side(llama_cpp, "8 bits", ("gpt2", "smollm2"), "llama.gguf", "runtimes"),
}
