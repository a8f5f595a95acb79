"""BERT, DistilBERT, RoBERTa and XLM-RoBERTa."""

from oracle.case import Case, Randomness, labelled

BERT = {
    "vocab_size": 67,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 19,
    "max_position_embeddings": 24,
    "layer_norm_eps": 3e-3,
}
DISTILBERT = {
    "vocab_size": 67,
    "dim": 12,
    "n_layers": 2,
    "n_heads": 3,
    "hidden_dim": 19,
    "max_position_embeddings": 24,
}
ROBERTA = {**BERT, "type_vocab_size": 1, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
SMALL = Randomness(embedding=0.15)  # for the first norm's epsilon to show

HEADS = {  # head: the end of the class's name, the config's changes, how it is labelled, the end of the case's name
    "bare": ("Model", {}, "", "bare"),
    "masked-lm": ("ForMaskedLM", {}, "", "masked-lm"),
    "sequence-class": ("ForSequenceClassification", labelled(5), "single", "sequence-class"),
    "multi-label": (
        "ForSequenceClassification",
        {**labelled(4), "problem_type": "multi_label_classification"},
        "multi",
        "sequence-class-multi-label",
    ),
    "regression": ("ForSequenceClassification", labelled(1), "regression", "sequence-class-regression"),
    "token-class": ("ForTokenClassification", labelled(5), "", "token-class"),
    "question-answering": ("ForQuestionAnswering", {}, "", "question-answering"),
}


def case(family: str, stem: str, config: dict, head: str, changes: dict, notes: str = "", random=SMALL) -> Case:
    """A case of the family whose classes begin with `stem`, with changes to its config besides the head's."""
    ending, of_head, labels, name = HEADS[head]
    return Case(
        name=f"{family}-{name}",
        family=family,
        head="sequence-class" if labels else head,
        form="encoder",
        architecture=f"{stem}{ending}",
        config={**config, **of_head, **changes},
        notes=notes,
        random=random,
        labels=labels,
    )


def of_bert() -> list[Case]:
    changes = {
        "bare": {},
        "masked-lm": {"type_vocab_size": 3},
        "sequence-class": {"hidden_act": "relu", "num_hidden_layers": 3},
        "multi-label": {"hidden_act": "gelu_new"},
        "regression": {"layer_norm_eps": 2e-2},
        "token-class": {"hidden_act": "silu", "intermediate_size": 31},
        "question-answering": {"hidden_size": 15, "intermediate_size": 7},
    }
    return [case("bert", "Bert", BERT, head, changes[head]) for head in HEADS]


def of_distilbert() -> list[Case]:
    changes = {"sequence-class": {"activation": "relu"}, "token-class": {"n_layers": 3}}
    notes = "its norms' epsilon is 1e-12, which no config changes"
    return [case("distilbert", "DistilBert", DISTILBERT, head, changes.get(head, {}), notes) for head in HEADS]


def of_roberta() -> list[Case]:
    changes = {
        "bare": {"pad_token_id": 3},
        "masked-lm": {"hidden_act": "relu"},
        "token-class": {"pad_token_id": 4},
        "question-answering": {"hidden_act": "gelu_new"},
    }
    notes = {"masked-lm": "the head's activation is gelu whatever hidden_act says"}
    made = [case("roberta", "Roberta", ROBERTA, head, changes.get(head, {}), notes.get(head, "")) for head in HEADS]
    told = "the config does not say that there is no pooler; the tensors do"
    return [*made, made[0].varied("no-pooler", told, options={"add_pooling_layer": False})]


def of_xlm_roberta() -> list[Case]:
    return [case("xlm-roberta", "XLMRoberta", ROBERTA, head, {}) for head in ("masked-lm", "sequence-class")]


CASES = [*of_bert(), *of_distilbert(), *of_roberta(), *of_xlm_roberta()]
