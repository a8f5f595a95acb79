"""The verbs over a language model: it goes on from a prompt, or it answers."""

from pathlib import Path
from typing import Annotated

import typer

from regard.cli.options import (
    Assistant,
    AssistantTokens,
    BatchTokens,
    BeamThreshold,
    BulkOutput,
    BulkWorkers,
    Dtype,
    Engine,
    Json,
    Launcher,
    LengthPenalty,
    MaxNewTokens,
    NumBeams,
    PromptLookup,
    Resume,
    given,
    runtime,
)
from regard.cli.reading_verbs import Model

verbs = typer.Typer()

Sample = Annotated[
    bool | None,
    typer.Option("--sample/--no-sample", help="Draw each token, or take the likeliest. Default: the checkpoint's way."),
]
Temperature = Annotated[
    float | None, typer.Option("--temperature", help="Sample; below 1 is tamer, above 1 wilder, 0 is --no-sample.")
]
TopK = Annotated[int | None, typer.Option("--top-k", help="Sample among the k likeliest; 0: among all.")]
TopP = Annotated[float | None, typer.Option("--top-p", help="Sample among the likeliest that hold this probability.")]
MinP = Annotated[
    float | None, typer.Option("--min-p", help="Sample among those with this share of the likeliest one's probability.")
]
TypicalP = Annotated[
    float | None, typer.Option("--typical-p", help="Sample among the most typical that hold this probability.")
]
RepetitionPenalty = Annotated[
    float | None, typer.Option("--repetition-penalty", help="Above 1 makes tokens that came before less likely.")
]
NoRepeat = Annotated[int | None, typer.Option("--no-repeat-ngram-size", help="No run of so many tokens comes twice.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Of the sample: the same seed, the same text.")]
Stop = Annotated[
    list[str] | None,
    typer.Option("--stop", metavar="TEXT", help="End before this text; may be repeated. Default: the checkpoint's."),
]
NBest = Annotated[
    int | None, typer.Option("--n-best", "--num-return-sequences", help="Texts for each prompt, best first.")
]
ParseSpecial = Annotated[bool, typer.Option("--parse-special", help="Special tokens that a prompt spells are no text.")]
Stream = Annotated[
    bool | None, typer.Option("--stream/--no-stream", help="Show one text as it is written. Default: if it can be.")
]
Allowed = Annotated[
    list[str] | None,
    typer.Option("--allowed", metavar="TEXT", help="Write this text or another that is allowed; to be repeated."),
]


@verbs.command()
def generate(
    model: Model,
    prompts: Annotated[list[str] | None, typer.Argument(metavar="PROMPT", help="Prompts; - or none: stdin.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", metavar="FILE", help="Prompts, one a line.")] = None,
    whole: Annotated[bool, typer.Option("--whole", help="The file, or stdin, is one prompt of many lines.")] = False,
    max_new_tokens: MaxNewTokens = None,
    stop: Stop = None,
    sample: Sample = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    typical_p: TypicalP = None,
    repetition_penalty: RepetitionPenalty = None,
    no_repeat_ngram_size: NoRepeat = None,
    seed: Seed = None,
    num_beams: NumBeams = None,
    beam_threshold: BeamThreshold = None,
    length_penalty: LengthPenalty = None,
    n_best: NBest = None,
    allowed: Allowed = None,
    keep_prompt: Annotated[bool, typer.Option("--keep-prompt", help="Show the prompt before its text.")] = False,
    parse_special: ParseSpecial = False,
    stream: Stream = None,
    batch_tokens: BatchTokens = 4096,
    prompt_lookup_num_tokens: PromptLookup = None,
    assistant: Assistant = None,
    num_assistant_tokens: AssistantTokens = None,
    engine: Engine = None,
    dtype: Dtype = None,
    workers: BulkWorkers = None,
    launcher: Launcher = "local",
    output: BulkOutput = None,
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Let a language model go on from prompts, a file or stdin; T5 and its kin write a text for a text.

    One prompt's text is shown as it is written, line ends and all. Several prompts' texts are a line each, their line
    ends as spaces. With --n-best a line is: number of the prompt, score, text, with tabs between. A stop string is not
    shown. Any of --temperature, --top-k, --top-p, --min-p and --typical-p turns sampling on.

    \b
    Examples:
      regard generate smollm2 "The capital of France is"
      regard generate smollm2 "Once upon a time" --temperature 0.8 --seed 1 --max-new-tokens 100
      regard generate smollm2 "Q: 2+2? A:" --stop "Q:" --n-best 3 --num-beams 3
      regard generate ./gpt2 --file prompts.txt --json --workers 2 --output texts.jsonl
      regard generate smollm2 --file notes.txt --whole --dtype int8 --prompt-lookup-num-tokens 10
    """
    from regard.commands.bulk import Bulk
    from regard.commands.generate import generate_texts
    from regard.commands.search import search_options

    generate_texts(
        model,
        prompts or [],
        file,
        whole=whole,
        stream=stream,
        keep_prompt=keep_prompt,
        as_json=as_json,
        allowed=allowed,
        batch_tokens=batch_tokens,
        bulk=Bulk(workers, output, resume, launcher),
        runtime=runtime(engine, dtype, assistant),
        settings={"stop": stop or None, "parse_special": parse_special},
        options=search_options(
            sample,
            given(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, typical_p=typical_p),
            seed=seed,
            **given(num_beams=num_beams, beam_threshold=beam_threshold, length_penalty=length_penalty),
            num_return_sequences=n_best,
            max_new_tokens=max_new_tokens,
            repetition_penalty=repetition_penalty,
            no_repeat_ngram_size=no_repeat_ngram_size,
            prompt_lookup_num_tokens=prompt_lookup_num_tokens,
            num_assistant_tokens=num_assistant_tokens,
        ),
    )


@verbs.command()
def chat(
    model: Model,
    message: Annotated[
        list[str] | None, typer.Argument(metavar="MESSAGE", help="One message, words joined; none: talk.")
    ] = None,
    system: Annotated[str | None, typer.Option("--system", help="What the model is told before all else.")] = None,
    template: Annotated[
        Path | None, typer.Option("--template", metavar="FILE", help="A chat template, instead of the checkpoint's.")
    ] = None,
    max_new_tokens: MaxNewTokens = None,
    stop: Stop = None,
    sample: Sample = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    typical_p: TypicalP = None,
    repetition_penalty: RepetitionPenalty = None,
    no_repeat_ngram_size: NoRepeat = None,
    seed: Seed = None,
    prompt_lookup_num_tokens: PromptLookup = None,
    assistant: Assistant = None,
    num_assistant_tokens: AssistantTokens = None,
    engine: Engine = None,
    dtype: Dtype = None,
    as_json: Json = False,
) -> None:
    """Talk with a language model. Replies are shown as they are written.

    With a MESSAGE there is one reply. Without, each line that is typed, or that stdin holds, is a message, and all that
    was said before is remembered; where it grows too long for the model, the oldest turns are forgotten, and stderr
    says so. Typed: /reset begins anew, /quit or Ctrl-D ends, Ctrl-C ends the reply, /help says so. Any of
    --temperature, --top-k, --top-p, --min-p and --typical-p turns sampling on.

    \b
    Examples:
      regard chat smollm2
      regard chat smollm2 --dtype int8
      regard chat smollm2 "What is attention in a Transformer? Two sentences."
      regard chat smollm2 "Write a haiku." --system "You are a poet." --temperature 0.7 --seed 1
      printf 'My name is Ada.\\nWhat is my name?\\n' | regard chat smollm2 --json
    """
    from regard.commands.chat import talk
    from regard.commands.search import search_options

    talk(
        model,
        message or [],
        system=system,
        template=template,
        as_json=as_json,
        stop=stop or None,
        runtime=runtime(engine, dtype, assistant),
        **search_options(
            sample,
            given(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, typical_p=typical_p),
            seed=seed,
            max_new_tokens=max_new_tokens,
            repetition_penalty=repetition_penalty,
            no_repeat_ngram_size=no_repeat_ngram_size,
            prompt_lookup_num_tokens=prompt_lookup_num_tokens,
            num_assistant_tokens=num_assistant_tokens,
        ),
    )
