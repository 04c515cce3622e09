"""``python -m benchmarks.cloze``: how often the right language comes first, or in the first five.

python -m benchmarks.cloze                                  # the shipped model
python -m benchmarks.cloze --url http://localhost:8000      # a service that runs
python -m benchmarks.cloze --ngrams runs/travel/prepared    # n-grams of a run beside it
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.cloze.by_ngrams import NgramFiller
from benchmarks.cloze.by_service import fill_by_service
from benchmarks.cloze.sentences import SENTENCES, Filling, all_languages, read_sentences
from benchmarks.command import errors_said_plainly
from benchmarks.service_process import running_service
from benchmarks.subject import SHIPPED_BUNDLE

_GROUPS = ("all", "middle", "end", "plain", "literary")
_CHOICES = {"all words": True, "languages": False}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures; returns the exit code."""
    options = _parser().parse_args(arguments)
    with errors_said_plainly() as failed:
        sentences = read_sentences(options.sentences)
        languages = all_languages(sentences)
        fillings: dict[str, list[Filling]] = {}
        with _address(options) as url:
            fillings["model"] = [fill_by_service(url, each, languages) for each in sentences]
        for order in options.orders if options.ngrams else ():
            filler = NgramFiller(options.ngrams, order)
            fillings[f"{order}-grams"] = [filler.fill(each, languages) for each in sentences]
        _print_sentences(fillings["model"])
        shares = {who: _shares(filled) for who, filled in fillings.items()}
        _print_shares(shares, len(languages))
        if options.out:
            options.out.write_text(json.dumps(_record(fillings, shares), indent=1) + "\n")
            print(f"written: {options.out}")
    return int(bool(failed))


@contextmanager
def _address(options: argparse.Namespace) -> Iterator[str]:
    """The service that is asked: a given one, or one started for the bundle."""
    if options.url:
        yield options.url
    else:
        with running_service(options.bundle) as service:
            yield f"http://127.0.0.1:{service.port}"


def _shares(fillings: list[Filling]) -> dict[str, dict[str, dict[str, float]]]:
    """Choice, group of sentences, "first" or "first five": shares of the sentences."""
    return {
        choice: {group: _share(fillings, group, open_choice=opened) for group in _GROUPS}
        for choice, opened in _CHOICES.items()
    }


def _share(fillings: list[Filling], group: str, *, open_choice: bool) -> dict[str, float]:
    chosen = [each for each in fillings if group in each.sentence.groups]
    ranks = [each.rank(open_choice=open_choice) for each in chosen]
    first = sum(rank == 1 for rank in ranks)
    first_five = sum(rank is not None and rank <= 5 for rank in ranks)
    total = max(1, len(ranks))
    return {"sentences": len(ranks), "first": first / total, "first five": first_five / total}


def _print_sentences(fillings: list[Filling]) -> None:
    heads = f"{'words':>6}{'lang.':>6}  {'right':<12}{'blank':<8}{'style':<10}"
    print(f"{heads}{'the first five words':<52}place")
    for each in fillings:
        opened, listed = each.rank(open_choice=True), each.rank(open_choice=False)
        first = ", ".join(each.words[:5])
        right, kind = "/".join(each.sentence.answers)[:11], each.sentence.kind
        start = (
            f"{opened or '-':>6}{listed or '-':>6}  {right:<12}{kind:<8}{each.sentence.style:<10}"
        )
        print(f"{start}{first[:50]:<52}{each.sentence.country}")


def _print_shares(shares: dict[str, Any], num_languages: int) -> None:
    print(f"\n{'among':<16}{'sentences':<10}{'n':>4}" + "".join(f"{who:>24}" for who in shares))
    heads = f"{'first':>12}{'first five':>12}"
    print(" " * 30 + heads * len(shares))
    for choice in _CHOICES:
        name = choice if choice == "all words" else f"{num_languages} languages"
        for group in _GROUPS:
            rows = [shares[who][choice][group] for who in shares]
            numbers = "".join(f"{row['first']:>12.0%}{row['first five']:>12.0%}" for row in rows)
            print(f"{name:<16}{group:<10}{rows[0]['sentences']:>4}{numbers}")


def _record(fillings: dict[str, list[Filling]], shares: dict[str, Any]) -> dict[str, Any]:
    """Ready for JSON."""
    return {
        "shares": shares,
        "sentences": [
            {
                "country": filling.sentence.country,
                "style": filling.sentence.style,
                "text": filling.sentence.text,
                "answers": filling.sentence.answers,
                "rank among all words": filling.rank(open_choice=True),
                "rank among languages": filling.rank(open_choice=False),
                "first words": filling.words[:5],
            }
            for filling in fillings["model"]
        ],
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cloze", description="Which language is spoken where?"
    )
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE, help="model to start")
    parser.add_argument("--url", help="instead a service that runs: http://localhost:8000")
    parser.add_argument("--sentences", type=Path, default=SENTENCES, help="a .jsonl file")
    parser.add_argument("--ngrams", type=Path, help="runs/NAME/prepared: n-grams of it as well")
    parser.add_argument("--orders", type=int, nargs="+", default=[3, 5], help="of the n-grams")
    parser.add_argument("--out", type=Path, help="a .json file to write")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
