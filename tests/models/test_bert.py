"""BERT, RoBERTa and DistilBERT of their published sizes."""

import math

import pytest

from regard.models.catalog import FAMILIES
from regard.models.family import Config

BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
BERT = {**BASE, "vocab_size": 30522, "max_position_embeddings": 512, "type_vocab_size": 2}
ROBERTA = {**BASE, "vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 1}
POOLER = 768 * 768 + 768


def size(family, architecture, values):
    known = FAMILIES[family]
    spec = known.from_config(Config({"model_type": family, "architectures": [architecture], **values}))
    return sum(math.prod(rule.shape) for rule in known.rules(spec))


@pytest.mark.parametrize(
    ("family", "architecture", "values", "published"),
    [
        ("bert", "BertModel", BERT, 109_482_240),
        ("distilbert", "DistilBertModel", {"vocab_size": 30522}, 66_362_880),
        ("roberta", "RobertaModel", ROBERTA, 124_645_632),
    ],
)
def test_the_bare_model_has_its_published_size(family, architecture, values, published):
    """BERT's and RoBERTa's count is with the pooler, which DistilBERT does not have."""
    assert size(family, architecture, values) == published


def test_robertas_masked_language_model_has_a_dense_layer_a_norm_and_a_bias_in_the_poolers_place():
    head = 768 * 768 + 768 + 2 * 768 + 50265
    assert size("roberta", "RobertaForMaskedLM", ROBERTA) == 124_645_632 - POOLER + head
