"""The verbs over a loaded checkpoint that reads texts."""

from pathlib import Path
from typing import Annotated

import typer

from regard.cli.options import BatchTokens, Json, given

verbs = typer.Typer()

Model = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A model directory, an installed model's name, or the id of one on the hub."),
]
Texts = Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="Texts; - or none: stdin.")]
File = Annotated[Path | None, typer.Option("--file", "-f", metavar="FILE", help="Texts, one a line.")]
MaxLength = Annotated[int | None, typer.Option("--max-length", help="Tokens of the longest window.")]
Stride = Annotated[int | None, typer.Option("--stride", help="Tokens that two neighbouring windows share.")]


@verbs.command()
def embed(
    model: Model,
    texts: Texts = None,
    file: File = None,
    similarity: Annotated[
        bool, typer.Option("--similarity", help="How near each text is to each, and no vectors.")
    ] = False,
    prompt: Annotated[str | None, typer.Option("--prompt", help="One of the model's prompts, by its name.")] = None,
    batch_tokens: BatchTokens = 4096,
    as_json: Json = False,
) -> None:
    """Turn texts, a file or stdin into vectors, a line each: the numbers with spaces between.

    With --similarity the lines are the rows of the table of all texts against all. A text that is too long for the
    model is cut, and stderr says so.

    \b
    Examples:
      regard embed minilm "A cat sits on the mat."
      regard embed minilm "A cat sits." "A kitten rests." --similarity
      regard embed ./all-mpnet-base-v2 --file sentences.txt --json > vectors.jsonl
    """
    from regard.commands.embed import embed_texts

    embed_texts(
        model, texts or [], file, similarity=similarity, prompt=prompt, batch_tokens=batch_tokens, as_json=as_json
    )


@verbs.command()
def classify(
    model: Model,
    texts: Texts = None,
    file: File = None,
    pairs: Annotated[bool, typer.Option("--pairs", help="A line is two texts, with a tab between.")] = False,
    top_k: Annotated[
        int | None, typer.Option("--top-k", help="Labels of each text, best first. Default: what holds.")
    ] = None,
    batch_tokens: BatchTokens = 4096,
    as_json: Json = False,
) -> None:
    """Name the class of texts, a file or stdin, line by line: label and score, with a tab between.

    Where several labels may hold, a line has those of a score above 0.5, or the best; with --top-k as many. A text that
    is too long for the model is cut, and stderr says so.

    \b
    Examples:
      regard classify ./sentiment "What a lovely day."
      regard classify ./nli --pairs --file premises-and-hypotheses.tsv --top-k 3
      cat reviews.txt | regard classify ./sentiment --json
    """
    from regard.commands.classify import classify_texts

    classify_texts(model, texts or [], file, pairs=pairs, top_k=top_k, batch_tokens=batch_tokens, as_json=as_json)


@verbs.command()
def tag(
    model: Model,
    texts: Texts = None,
    file: File = None,
    aggregation: Annotated[
        str, typer.Option("--aggregation", help="Who speaks for a word: simple (each token), first or max.")
    ] = "simple",
    max_length: MaxLength = None,
    stride: Stride = None,
    batch_tokens: BatchTokens = 4096,
    as_json: Json = False,
) -> None:
    """Find the entities of texts, a file or stdin, an entity a line.

    The columns, with tabs between: number of the input line, start, end, label, score, text. Start and end count the
    line's characters from 0. Long texts are read in windows; nothing is cut.

    \b
    Examples:
      regard tag ./ner "Ada Lovelace lived in London."
      regard tag ./ner --file articles.txt --aggregation first
      cat articles.txt | regard tag ./ner --json
    """
    from regard.commands.tag import tag_texts

    settings = {"aggregation": aggregation, "batch_tokens": batch_tokens}
    tag_texts(model, texts or [], file, as_json=as_json, **settings, **given(max_length=max_length, stride=stride))


@verbs.command("fill-mask")
def fill_mask(
    model: Model,
    texts: Texts = None,
    file: File = None,
    top_k: Annotated[int, typer.Option("--top-k", help="Candidates for each mask, best first.")] = 5,
    as_json: Json = False,
) -> None:
    """Fill the masks in texts, a file or stdin, a candidate a line.

    The columns, with tabs between: number of the input line, number of its mask, score, token, the line with it.

    \b
    Examples:
      regard fill-mask ./bert "Paris is the [MASK] of France."
      regard fill-mask ./roberta "Paris is the <mask> of France." --top-k 3
      cat masked.txt | regard fill-mask ./bert --json
    """
    from regard.commands.fill_mask import fill_masks

    fill_masks(model, texts or [], file, top_k=top_k, as_json=as_json)


@verbs.command()
def answer(
    model: Model,
    questions: Annotated[list[str], typer.Argument(metavar="QUESTION", help="Questions, each about all of the text.")],
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="FILE", help="The text that holds the answers; else stdin.")
    ] = None,
    context: Annotated[str | None, typer.Option("--context", help="The text itself.")] = None,
    top_k: Annotated[int, typer.Option("--top-k", help="Answers to each question, best first.")] = 1,
    max_answer_length: Annotated[int, typer.Option("--max-answer-length", help="In tokens.")] = 15,
    no_answer_threshold: Annotated[
        float | None,
        typer.Option(
            "--no-answer-threshold",
            help="Nats that no answer must be ahead to be taken; inf: always answer. Default: what the run chose.",
        ),
    ] = None,
    max_length: MaxLength = None,
    stride: Stride = None,
    batch_tokens: BatchTokens = 4096,
    as_json: Json = False,
) -> None:
    """Answer questions by stretches of a text: a file, stdin or an option.

    The columns, with tabs between: number of the question, start, end, score, answer. Start and end count the text's
    characters from 0; both are empty where there is no answer. Long texts are read in windows; nothing is cut.

    \b
    Examples:
      regard answer ./squad "Who wrote it?" --context "Ada wrote the first program."
      regard answer ./squad "When?" "Where?" --file article.txt --top-k 3
      cat article.txt | regard answer ./squad "Who?" --no-answer-threshold 0 --json
    """
    from regard.commands.answer import answer_questions

    settings = {"top_k": top_k, "max_answer_length": max_answer_length, "batch_tokens": batch_tokens}
    windowing = given(max_length=max_length, stride=stride, no_answer_threshold=no_answer_threshold)
    answer_questions(model, questions, file, context, as_json=as_json, **settings, **windowing)
