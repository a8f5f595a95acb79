"""An encoder's checkpoint as an encoder-decoder, to be trained: a BERT on both sides (Rothe et al. 2020, BERT2BERT), or
what wrote down frames, with a decoder that begins anew."""

import logging
import re

from regard.errors import CheckpointError, ConfigError
from regard.interop.accounting import Named, account
from regard.interop.checkpoints import filled
from regard.interop.described import Described
from regard.models import whisper
from regard.models.catalog import family
from regard.models.encoder_decoder import both_sides, both_sides_rules
from regard.models.forms import Transformer
from regard.models.weights import Rule
from regard.specs import ModelSpec, TokenIds

log = logging.getLogger(__name__)


def load_both_sides(found: Described, dtype: str, tokens: TokenIds) -> Transformer:
    """A network whose encoder and decoder begin with the weights of a BERT; what it did not have begins anew: the
    cross-attention, and without a masked language model's head what stands before the table.

    tokens: what ends a text, and what its decoder reads first. Raises CheckpointError for a checkpoint of another
    family, and where a tensor is missing or of another shape.
    """
    checkpoint = found.checkpoint
    try:
        spec = both_sides(found.spec, tokens)
    except ConfigError as error:
        raise CheckpointError(f"model.from: {checkpoint.place}: {error}") from error
    rules = both_sides_rules(found.spec)
    model = _begun(spec, rules, found, dtype)
    if found.spec.family == "xlm-roberta":  # whose sides are RoBERTa's, with another tokenizer
        sides = {"encoder": "XLMRobertaModel", "decoder": "XLMRobertaForCausalLM"}
        kept = {side: {"model_type": found.spec.family, "architectures": [name]} for side, name in sides.items()}
        model.kept_config = kept
    return model


def load_with_decoder(found: Described, dtype: str, tokens: TokenIds) -> Transformer:
    """A transcriber whose encoder begins with the weights of one that was trained by connectionist temporal
    classification; its decoder begins anew.

    tokens: what ends a text, and what its decoder reads first. Raises CheckpointError where a tensor is missing or of
    another shape.
    """
    rules = [rule for rule in found.family.rules(found.spec) if rule.path.startswith("encoder/")]
    model = _begun(whisper.with_decoder(found.spec, tokens), rules, found, dtype)
    model.kept_generation = {"is_multilingual": False}
    return model


def _begun(spec: ModelSpec, rules: list[Rule], found: Described, dtype: str) -> Transformer:
    """A network whose variables begin, as far as these rules go, with the checkpoint's tensors."""
    complaint = account(found.spec, found.tensors, rules)._replace(unexpected=[]).complaint()
    if complaint:
        raise CheckpointError(f"{found.tensors.tensors.origin}: {complaint}")
    fresh = {rule.path for rule in family(spec.family).rules(spec)} - {rule.path for rule in rules}
    anew = sorted({re.sub(r"/layer_\d+/", "/layer_*/", path) for path in fresh})
    log.info("%s: begin anew: %s", found.checkpoint.place, ", ".join(anew))
    named = Named(found.checkpoint.tensors, found.family._replace(rules=lambda _: rules))
    return filled(spec, named, dtype, frozenset(fresh))
