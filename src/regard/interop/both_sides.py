"""An encoder's checkpoint as both sides of an encoder-decoder, to be trained (Rothe et al. 2020, BERT2BERT)."""

import logging
import re

from regard.errors import CheckpointError, ConfigError
from regard.interop.accounting import Named, account
from regard.interop.checkpoints import filled
from regard.interop.described import Described
from regard.models.catalog import family
from regard.models.encoder_decoder import both_sides, both_sides_rules
from regard.models.forms import Transformer
from regard.specs import TokenIds

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
    complaint = account(found.spec, found.tensors, rules)._replace(unexpected=[]).complaint()
    if complaint:
        raise CheckpointError(f"{found.tensors.tensors.origin}: {complaint}")
    fresh = {rule.path for rule in family(spec.family).rules(spec)} - {rule.path for rule in rules}
    anew = sorted({re.sub(r"/layer_\d+/", "/layer_*/", path) for path in fresh})
    log.info("%s: begin anew: %s", checkpoint.place, ", ".join(anew))
    named = Named(checkpoint.tensors, found.family._replace(rules=lambda _: rules))
    model = filled(spec, named, dtype, frozenset(fresh))
    if found.spec.family == "xlm-roberta":  # whose sides are RoBERTa's, with another tokenizer
        sides = {"encoder": "XLMRobertaModel", "decoder": "XLMRobertaForCausalLM"}
        kept = {side: {"model_type": found.spec.family, "architectures": [name]} for side, name in sides.items()}
        model.kept_config = kept
    return model
