"""A checkpoint that writes a text for a text -> its translator, or its summariser."""

from dataclasses import replace

from regard.errors import CheckpointError
from regard.features.tokenizer_files import CONFIG
from regard.interop.directory import read_json
from regard.tasks.found import Found
from regard.tasks.languages import languages_of
from regard.tasks.purpose import is_asked, summary_prompt, translation_prompts
from regard.tasks.summarise import Summariser
from regard.tasks.translate import Translator


def translator(found: Found) -> Translator:
    """Raises CheckpointError where the tokenizer is another model's."""
    _check_tokenizer(found)
    options = found.generation_options
    target = read_json(found.place, CONFIG).get("tgt_lang") if found.place.is_dir() else None
    languages = languages_of(
        found.tokenizer,
        found.spec.tokens,
        forced=options.forced_bos_token_id,
        target=target if isinstance(target, str) else None,
        prompts=translation_prompts(found),
    )
    return Translator(found.model, found.tokenizer, options, languages)


def summariser(found: Found) -> Summariser:
    """Raises CheckpointError where the tokenizer is another model's, and for a language model that has not learned to
    summarise."""
    if found.spec.form == "decoder":
        if not is_asked(found):
            raise CheckpointError(
                f"{found.place} is a language model that has not learned to summarise: ask it to, with regard chat, or "
                "train it to, with task = 'summarise' and data.prompt in a run file"
            )
        return Summariser(found.model, found.tokenizer, found.generation_options)
    _check_tokenizer(found)
    prompt = summary_prompt(found)
    options = replace(found.generation_options, **prompt.options)
    return Summariser(found.model, found.tokenizer, options, prompt.prefix)


def _check_tokenizer(found: Found) -> None:
    """Ids that both name must be the same: a config may list several that end a text, or leave one out."""
    tokens, tokenizer = found.spec.tokens, found.tokenizer
    pads = () if tokens.pad is None else (tokens.pad,)
    ends = tokens.eos if isinstance(tokens.eos, tuple) else () if tokens.eos is None else (tokens.eos,)
    for name, ours, theirs in (("eos id", tokenizer.end_id, ends), ("pad id", tokenizer.pad_id, pads)):
        if theirs and ours is not None and ours not in theirs:
            raise CheckpointError(
                f"{found.place}: the tokenizer is another model's: its {name} is {ours}, "
                f"but the model's is {' or '.join(map(str, theirs))}"
            )
