import pytest

from regard.batch import Example
from regard.errors import DataError
from regard.tasks.evaluate import evaluate


def test_each_direction_is_scored_by_itself_in_the_order_of_its_name(many_languages):
    examples = [
        Example("cat", "CAT", "en", "zh"),
        Example("dog", "HUND", "en", "de"),
        Example("fox", "FOX", "en", "de"),
        Example("hund", "HUND", "de", "en"),
    ]
    scores = evaluate(many_languages, examples, resamples=10)
    assert [(entry.source_lang, entry.target_lang, entry.exact_match) for entry in scores] == [
        ("de", "en", 100.0),
        ("en", "de", 50.0),
        ("en", "zh", 100.0),
    ]
    assert scores[1].sources == ("dog", "fox")
    assert scores[1].hypotheses == ("DOG", "FOX")
    assert scores[1].references == ("HUND", "FOX")
    assert "tok:zh" in scores[2].score.bleu_signature
    leading = {batch[0, 0] for batch in many_languages.engine.batches}
    assert leading == {many_languages.tokenizer.tag_id(f">>{language}<<") for language in ("en", "de", "zh")}


def test_without_language_tags_the_target_language_chooses_the_metric_alone(translator):
    (entry,) = evaluate(translator, [Example("x", "X", None, "zh")], resamples=0)
    assert "tok:zh" in entry.score.bleu_signature
    assert entry.score.bleu_interval is None


def test_the_record_holds_the_scores_and_no_text(translator):
    (entry,) = evaluate(translator, [Example("ab", "AB"), Example("long text", "LONG TEXT")], max_new_tokens=4)
    record = entry.record()
    assert record["count"] == 2
    assert record["unfinished"] == 1
    assert record["exact_match"] == 50
    assert len(record["chrf_interval"]) == 2
    assert "hypotheses" not in record


def test_every_example_is_reported_once(translator):
    done = []
    evaluate(translator, [Example(str(n), "x") for n in range(5)], on_translated=lambda: done.append(1), resamples=0)
    assert len(done) == 5


def test_no_examples_are_refused(translator):
    with pytest.raises(DataError, match="nothing to evaluate"):
        evaluate(translator, [])
