"""How a run's model is used in Transformers: the code that its card shows."""

from collections.abc import Iterator

from regard.explain.run_facts import RunFacts

_WRITES_TEXT = ("translate", "summarise", "text-to-text", "span-corruption", "language-model")
_READS_IMAGES = ("classify-image", "caption")
_WRITTEN = "print({reader}.decode(model.generate({inputs})[0], skip_special_tokens=True))"


def transformers_code(facts: RunFacts, auto: str, language: str | None) -> str:
    """The lines from import to result. auto: the class that loads the model; language: one that it is told."""
    return "\n".join((*_imports(facts, auto), "", *_loads(facts, auto), *_uses(facts, language)))


def _readers(facts: RunFacts) -> dict[str, str]:
    """Name -> class. AutoProcessor gives a captioner's tokenizer, and no images."""
    if facts.run.task == "transcribe":
        return {"processor": "AutoProcessor"}
    readers = {"processor": "AutoImageProcessor"} if facts.run.task in _READS_IMAGES else {}
    return readers if facts.run.task == "classify-image" else {**readers, "tokenizer": "AutoTokenizer"}


def _imports(facts: RunFacts, auto: str) -> Iterator[str]:
    if facts.run.task in _READS_IMAGES:
        yield "from PIL import Image"
    if facts.run.task == "transcribe":
        yield "import soundfile"
    yield f"from transformers import {', '.join((auto, *_readers(facts).values()))}"


def _loads(facts: RunFacts, auto: str) -> Iterator[str]:
    yield f'model = {auto}.from_pretrained(".")'
    for name, kind in _readers(facts).items():
        yield f'{name} = {kind}.from_pretrained(".")'


def _uses(facts: RunFacts, language: str | None) -> Iterator[str]:
    task = facts.run.task
    tag = f">>{language}<<"
    if task in _READS_IMAGES:
        yield 'inputs = processor(Image.open("image.png").convert("RGB"), return_tensors="pt")'
    elif facts.run.data.prompt is not None:  # which the chat template has become
        yield 'asked = [{"role": "user", "content": "A text."}]'
        yield 'told = {"add_generation_prompt": True, "return_dict": True, "return_tensors": "pt"}'
        yield "inputs = tokenizer.apply_chat_template(asked, **told)"
    elif task == "transcribe":
        yield 'samples, rate = soundfile.read("sound.wav")  # of one channel, at the rate that the processor says'
        yield 'inputs = processor(samples, sampling_rate=rate, return_tensors="pt")'
    else:
        yield f'inputs = tokenizer({_text(facts, tag if language else "")}, return_tensors="pt")'
    if task == "caption" and language:
        yield f'told = {{"forced_bos_token_id": tokenizer.convert_tokens_to_ids("{tag}")}}'
        yield _WRITTEN.format(reader="tokenizer", inputs="**inputs, **told")
    elif task == "transcribe":
        yield "print(processor.batch_decode(model.generate(**inputs), skip_special_tokens=True)[0])"
    elif facts.run.data.prompt is not None:
        yield 'written = model.generate(**inputs)[0, inputs["input_ids"].shape[1] :]'
        yield "print(tokenizer.decode(written, skip_special_tokens=True))"
    elif task == "caption" or task in _WRITES_TEXT:
        yield _WRITTEN.format(reader="tokenizer", inputs="**inputs")
    else:
        yield f"print({_READ[task]})" + ("  # which Regard scales to length 1" if task == "embed" else "")


def _text(facts: RunFacts, tag: str) -> str:
    if facts.run.task == "answer":
        return '"A question?", "A text."'
    if facts.run.task == "span-corruption":
        return '"A <extra_id_0> text."'
    if facts.run.task == "masked-language-model":
        return f'"A {facts.mask}."'
    return f'"{tag} A text."' if tag else '"A text."'


_READ = {  # what an encoder's output is asked for
    "masked-language-model": "tokenizer.decode(model(**inputs).logits[0].argmax(-1))",
    "classify": "model(**inputs).logits",
    "classify-image": "model(**inputs).logits",
    "tag": "model(**inputs).logits.argmax(-1)",
    "answer": "model(**inputs).start_logits, model(**inputs).end_logits",
    "embed": "model(**inputs).last_hidden_state.mean(1)",
}
