"""``README.md`` of a bundle: what the model is, what it learnt from, how good it is, its limits."""

from __future__ import annotations

from collections.abc import Mapping

from model.bundle.manifest import BundleManifest
from training.pages.report import score_rows

_INTENDED_USE = """\
Completing text like the text it learnt from, and giving the probabilities of the next token, on a
plain processor. It knows nothing but that text: what it writes may be false, and repeats the
opinions, errors and words of its sources. It is no source of facts, and not to be used to decide
about people.
"""


def render_model_card(
    manifest: BundleManifest, *, facts: Mapping[str, object], corpus: Mapping[str, object]
) -> str:
    """The model card as Markdown.

    Args:
        manifest: of the bundle.
        facts: the model in a few lines, label to value.
        corpus: the corpus in a few lines, label to value.
    """
    parts = [
        f"# {manifest.name}\n\nA recurrent language model made with Foretoken.\n",
        "## Model\n\n" + _list(facts),
        "## Intended use and limits\n\n" + _INTENDED_USE,
        "## Text it learnt from\n\n"
        + _list(corpus)
        + _note(manifest)
        + _titles(manifest.provenance.source_titles),
        "## Scores on held-out text\n\n" + _scores(manifest),
        "## How it was made\n\n" + _list(_making(manifest)),
        "Curves, samples and how far back it remembers are in `report.html`; `SHA256SUMS` lists "
        "every file's digest.\n",
    ]
    return "\n".join(parts)


def _list(values: Mapping[str, object]) -> str:
    return "".join(f"- {label}: {value}\n" for label, value in values.items())


def _note(manifest: BundleManifest) -> str:
    """What the maker of the model had to say of its texts."""
    note = manifest.provenance.settings.get("card_note")
    return f"\n{note}\n" if note else ""


def _titles(titles: tuple[str, ...]) -> str:
    if not titles:
        return ""
    return "\nSources:\n\n" + "".join(f"- {title}\n" for title in titles)


def _scores(manifest: BundleManifest) -> str:
    lines = [
        "| model | nats per token | perplexity | bits per byte |",
        "|---|---:|---:|---:|",
        *("| " + " | ".join(row) + " |" for row in score_rows(manifest.scores)),
    ]
    score = manifest.scores.float32
    note = (
        f"\nAll on the same {score.num_tokens:,} tokens ({score.num_bytes:,} bytes) that none of "
        "them learnt from. Lower is better.\n"
    )
    return "\n".join(lines) + "\n" + note


def _making(manifest: BundleManifest) -> dict[str, object]:
    made = manifest.provenance
    values: dict[str, object] = {"code version": made.code_version, "seed": made.seed}
    if made.minutes is not None:
        values["training time"] = f"{made.minutes:.1f} minutes"
    if made.machine is not None:
        values["machine"] = made.machine
    values["corpus digest"] = f"`{made.corpus_digest}`"
    return values
