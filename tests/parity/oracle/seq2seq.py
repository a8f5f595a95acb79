"""T5, BART, mBART, M2M-100 and NLLB, Marian, Pegasus."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers

from oracle.case import Case, Model, Randomness
from oracle.encoders import BERT, ROBERTA

T5 = {
    "vocab_size": 67,
    "d_model": 12,
    "d_kv": 5,
    "num_heads": 3,
    "d_ff": 19,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 10,
    "layer_norm_epsilon": 1e-1,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}
BART = {
    "vocab_size": 67,
    "d_model": 12,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 19,
    "decoder_ffn_dim": 23,
    "max_position_embeddings": 20,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
LANGUAGE = 61  # the id of a language code
TIED = Randomness(gain=0.9, embedding=0.5, table=0.7)
SCALED = Randomness(gain=0.9, embedding=0.5, table=0.4)


def turned(model: Model) -> None:
    """Half of the last norm turned around: a tied head would else say again what the decoder has just read."""
    decoder = model.get_decoder()
    last = getattr(decoder, "layer_norm", None) or getattr(decoder, "final_layer_norm", None)
    (last or decoder.layers[-1].final_layer_norm).weight[::2] *= -1


def biased(eos: float) -> Any:
    """Random final_logits_bias, with this much for eos on top."""

    def prepare(model: Model) -> None:
        turned(model)
        drawn = torch.randn(model.final_logits_bias.shape, generator=torch.Generator().manual_seed(7))
        model.final_logits_bias.copy_(0.5 * drawn)
        model.final_logits_bias[0, model.config.eos_token_id] += eos

    return prepare


def seq2seq(family: str, stem: str, config: dict[str, Any], **fields: Any) -> Case:
    return Case(
        name=f"{family}-seq2seq",
        family=family,
        head="seq2seq",
        form="encoder-decoder",
        architecture=f"{stem}ForConditionalGeneration",
        config=config,
        **{"random": TIED, "suite": "full", "prepare": turned, **fields},
    )


def bare(case: Case, name: str, architecture: str, **fields: Any) -> Case:
    random = replace(case.random, eos=1.0)
    return replace(
        case, name=name, head="bare", architecture=architecture, suite="", random=random, prepare=None, **fields
    )


def of_t5() -> list[Case]:
    original = seq2seq(
        "t5",
        "T5",
        T5,
        notes="relu; the decoder's output is scaled before the tied head; d_kv * heads is not d_model",
        random=Randomness(gain=3.0, embedding=0.3, table=1.0, eos=1.8),
        prepare=turned,
    )
    # Two tables in the file that differ, though both configs say tied: scale_decoder_outputs alone is false.
    gated = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "num_layers": 2, "num_decoder_layers": 3}
    untied = {"prepare": own_head, "random": Randomness(gain=1.5, embedding=0.5, head=2.0)}
    v11 = replace(original, name="t5-v11-seq2seq", config={**T5, **gated}, suite="short", **untied)
    silu = {"feed_forward_proj": "gated-silu", "num_layers": 2}
    return [
        original,
        replace(v11, notes="gated gelu_new; untied, though the config says tied; the decoder is deeper"),
        v11.varied("4x", "the spelling of 4.x: tie_word_embeddings is false", edit=as_4x, brief=True),
        replace(original, suite="short").varied("gated-silu", "tied and scaled", silu),
        bare(original, "t5-bare", "T5Model"),
        bare(original, "t5-encoder", "T5EncoderModel", form="encoder", notes="the encoder alone"),
    ]


def own_head(model: Model) -> None:
    """A head of its own, as v1.1 has it."""
    drawn = torch.randn(model.lm_head.weight.shape, generator=torch.Generator().manual_seed(7))
    model.lm_head.weight = torch.nn.Parameter(0.6 * drawn)
    model.lm_head.weight[model.config.eos_token_id] *= 1.5


def as_4x(directory: Path) -> None:
    """Rewrite T5's config as Transformers 4 wrote it."""
    path = directory / "config.json"
    config = json.loads(path.read_text("utf-8"))
    del config["scale_decoder_outputs"]
    config |= {"tie_word_embeddings": False, "torch_dtype": config.pop("dtype"), "output_past": True}
    path.write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def of_bart() -> list[Case]:
    plain = seq2seq(
        "bart",
        "Bart",
        BART,
        notes="eos starts the decoder, and is forced at the end; final_logits_bias is not zero",
        prepare=biased(2.0),
    )
    scaled = plain.varied(
        "scaled",
        "embeddings times the root of the width; relu; bos is forced first; no final bias",
        {"scale_embedding": True, "activation_function": "relu", "encoder_layers": 1},
        random=replace(SCALED, eos=2.0),
        prepare=turned,
        suite="short",
        generation_config={"forced_bos_token_id": 0},
    )
    return [plain, scaled, bare(plain, "bart-bare", "BartModel", notes="no head, so no final_logits_bias")]


def of_mbart() -> list[Case]:
    fifty = seq2seq(
        "mbart",
        "MBart",
        {**BART, "scale_embedding": True, "activation_function": "relu"},
        notes="pre-norm with final norms; labels end in the language code, which then comes first; the code is forced",
        random=SCALED,
        prepare=biased(2.0),
        hole=False,
        generation_config={"forced_bos_token_id": LANGUAGE},
    )
    coded = fifty.varied(
        "language-start",
        "the language code starts the decoder; embeddings are not scaled",
        {"scale_embedding": False, "decoder_start_token_id": LANGUAGE, "activation_function": "gelu"},
        random=TIED,
        generation_config={},
        suite="short",
    )
    return [fifty, coded]


def of_m2m100() -> list[Case]:
    language = {"forced_bos_token_id": LANGUAGE, "max_new_tokens": 10}
    beam = {**language, "num_beams": 4, "length_penalty": 0.6, "early_stopping": True}
    m2m = seq2seq(
        "m2m100",
        "M2M100",
        {**BART, "scale_embedding": True},
        notes="sinusoids of tensor2tensor from position pad + 1 on, not in the file; the target's language is forced",
        random=replace(SCALED, eos=2.0),
        hole=False,
        searches={"language": language, "language-beam": beam},
    )
    nllb = replace(m2m, suite="short").varied(
        "nllb",
        "as NLLB; gelu, another pad",
        {"activation_function": "gelu", "pad_token_id": 3, "scale_embedding": False},
    )
    return [m2m, replace(nllb, name="nllb-seq2seq", family="nllb", random=replace(TIED, eos=2.0))]


def of_marian() -> list[Case]:
    config = {**BART, "pad_token_id": 66, "decoder_start_token_id": 66, "eos_token_id": 0, "scale_embedding": True}
    del config["bos_token_id"]
    marian = replace(
        seq2seq("marian", "Marian", {**config, "activation_function": "swish"}),
        architecture="MarianMTModel",
        notes="sinusoids in two halves, not in the file; pad starts the decoder and is never generated",
        random=replace(SCALED, eos=2.0),
        generation_config={"bad_words_ids": [[66]], "num_beams": 1},
    )
    return [
        marian,
        marian.varied(
            "bias",
            "final_logits_bias is random; relu; the tables are not scaled",
            {"scale_embedding": False, "activation_function": "relu"},
            random=TIED,
            prepare=biased(2.0),
            suite="short",
        ),
    ]


def of_pegasus() -> list[Case]:
    config = {**BART, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0, "scale_embedding": True}
    del config["bos_token_id"]
    pegasus = seq2seq(
        "pegasus",
        "Pegasus",
        {**config, "activation_function": "relu"},
        notes="pre-norm with final norms, and no norm of the embeddings; the sinusoids are in the file",
        random=SCALED,
        prepare=biased(2.0),
    )
    other = {"scale_embedding": False, "activation_function": "gelu"}
    return [pegasus, pegasus.varied("unscaled", "", other, suite="short", random=TIED)]



def reader_and_writer(case: Case) -> Model:
    """As AutoModel makes it: the encoder has a pooler, which nothing reads."""
    kind = {"bert": transformers.BertConfig, "roberta": transformers.RobertaConfig}[case.config["kind"]]
    encoder, decoder = (kind(**{**case.config["both"], **case.config[side]}) for side in ("encoder", "decoder"))
    config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.tie_word_embeddings = False  # the decoder's own config ties
    model = transformers.EncoderDecoderModel(config)
    for key in ("pad_token_id", "eos_token_id", "decoder_start_token_id"):
        setattr(model.config, key, case.config[key])
        setattr(model.generation_config, key, case.config[key])
    return model


def turned_before_the_table(model: Model) -> None:
    """Half of the head's norm turned around: it would else say again what the decoder has just read. An untied head's
    bias is stored twice, and one of the two is read."""
    decoder = model.decoder
    head = decoder.cls.predictions if hasattr(decoder, "cls") else decoder.lm_head
    (head.transform.LayerNorm if hasattr(head, "transform") else head.layer_norm).weight[::2] *= -1
    head.bias.copy_(head.decoder.bias)


def of_encoder_decoder() -> list[Case]:
    """Rothe et al. 2020."""
    ids = {"pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 1}
    deeper = {"encoder": {"num_hidden_layers": 3}, "decoder": {"hidden_act": "gelu_new", "num_attention_heads": 2}}
    original = Case(
        name="encoder-decoder-bert",
        family="encoder-decoder",
        head="seq2seq",
        form="encoder-decoder",
        architecture="EncoderDecoderModel",
        config={"kind": "bert", "both": BERT, "vocab_size": 67, **deeper, **ids},
        notes="the sides differ in depth, heads and activation; the encoder has a pooler, which nothing reads",
        random=TIED,
        suite="full",
        hole=False,  # which Transformers masks in what the decoder reads, of this family alone
        build=reader_and_writer,
        prepare=turned_before_the_table,
    )
    untied = {"encoder": {"vocab_size": 61}, "decoder": {"tie_word_embeddings": False, "num_hidden_layers": 1}}
    of_roberta = {"kind": "roberta", "both": ROBERTA, "encoder": {}, "decoder": {}}
    of_roberta |= {"pad_token_id": 1, "decoder_start_token_id": 0}
    notes = "a table of its own to predict with; the encoder's vocabulary is smaller"
    counted = {"name": "encoder-decoder-roberta", "notes": "places are counted past the padding"}
    return [
        original,
        replace(original, suite="short").varied("untied", notes, untied),
        replace(original, suite="short", config={**original.config, **of_roberta}, **counted),
    ]


CASES = [*of_t5(), *of_bart(), *of_mbart(), *of_m2m100(), *of_marian(), *of_pegasus(), *of_encoder_decoder()]
