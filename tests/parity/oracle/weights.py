"""Random parameters: neither degenerate nor saturated, with what a family holds fixed left as it is."""

import torch
from torch import nn

from oracle.case import Model, Randomness


@torch.no_grad()
def randomise(model: Model, random: Randomness, generator: torch.Generator) -> None:
    """Draw every parameter anew, norms and biases too; fixed tables and the rows of padding stay."""
    seen: set[int] = set()  # tied parameters are drawn once
    for path, module in model.named_modules():
        fixed = "Sinusoidal" in type(module).__name__
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in seen and parameter.requires_grad and not fixed:
                seen.add(id(parameter))
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(drawn(module, f"{path}.{name}", noise, random))
    for module in model.modules():
        # Where eos pads as well, Transformers begins with zeros for both; published files have learned ones.
        if isinstance(module, nn.Embedding) and module.padding_idx not in (None, *ends_of(model)):
            module.weight[module.padding_idx] = 0
    if random.eos != 1:
        boost_eos(model, random.eos)


def drawn(module: nn.Module, path: str, noise: torch.Tensor, random: Randomness) -> torch.Tensor:
    """`noise`, scaled for the parameter `path` of `module`."""
    name = path.rsplit(".", 1)[-1]
    if name == "logit_scale":
        return torch.tensor(1.3)
    if "norm" in type(module).__name__.lower():
        return 0.2 * noise + (1 if name == "weight" else 0)
    if "bias" in name and noise.ndim == 1:
        return 0.2 * noise
    if isinstance(module, nn.Embedding) or noise.ndim < 2 or name in ("cls_token", "distillation_token"):
        return embedded(path, noise, random)
    if name == "position_embeddings":
        return random.embedding * noise
    return projected(module, path, noise, random)


def embedded(path: str, noise: torch.Tensor, random: Randomness) -> torch.Tensor:
    if "relative_attention_bias" in path:
        return 0.7 * noise
    tables = ("word_embeddings", "embed_tokens", "shared", "wte", "token_embedding")
    is_table = any(f".{table}." in f".{path}" for table in tables)
    return (random.table if is_table and random.table else random.embedding) * noise


def projected(module: nn.Module, path: str, noise: torch.Tensor, random: Randomness) -> torch.Tensor:
    stored_in_out = type(module).__name__ == "Conv1D"  # GPT-2's
    fan_in = noise.shape[0] if stored_in_out else noise[0].numel()
    gain = random.head if path.endswith(("lm_head.weight", "proj_out.weight")) else random.gain
    if path.endswith(("SelfAttention.q.weight", "EncDecAttention.q.weight")):
        gain *= getattr(module, "key_width", 5) ** -0.5  # T5 scales no scores: its queries are small instead
    return gain * fan_in**-0.5 * noise


def boost_eos(model: Model, factor: float) -> None:
    """Make eos more likely, here and there, by the length of the row that predicts it."""
    table = model.get_output_embeddings().weight
    for token in ends_of(model):
        table[token] *= factor


def ends_of(model: Model) -> list[int]:
    """The ids that end a text; none where the model generates nothing."""
    config = getattr(model, "generation_config", None) or model.config
    eos = getattr(config, "eos_token_id", None)
    return eos if isinstance(eos, list) else [] if eos is None else [eos]
