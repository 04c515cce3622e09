"""The model card of the finished run says what the bundle says."""

import re

from model.bundle.load import load_bundle
from training.bundle_facts import model_facts
from training.model_card import render_model_card


def test_the_card_names_model_sources_scores_and_making(finished):
    manifest = load_bundle(finished.run.export).manifest
    card = (finished.run.export / "README.md").read_text(encoding="utf-8")
    assert card.startswith("# tales\n")
    assert "- tales.txt\n" in card
    for value in model_facts(manifest).values():
        assert str(value) in card
    assert f"{manifest.scores.float32.bits_per_byte:.4f} |" in card
    assert f"{manifest.scores.int8.bits_per_byte:.4f} |" in card
    assert card.count("-gram, Kneser-Ney") == 5
    assert f"- seed: {manifest.provenance.seed}\n" in card
    assert manifest.provenance.corpus_digest in card


def test_the_card_is_plain_markdown_with_each_section_once(finished):
    manifest = load_bundle(finished.run.export).manifest
    card = render_model_card(manifest, facts={"network": "x"}, corpus={"train": "y"})
    headings = re.findall(r"^#+ .*$", card, re.MULTILINE)
    assert len(headings) == len(set(headings)) == 6
    assert "- network: x\n" in card
    assert "- train: y\n" in card


def test_a_bundle_without_titles_or_machine_has_a_card_too(finished):
    manifest = load_bundle(finished.run.export).manifest
    made = manifest.provenance.model_copy(
        update={"source_titles": (), "machine": None, "minutes": None}
    )
    card = render_model_card(manifest.model_copy(update={"provenance": made}), facts={}, corpus={})
    assert "Sources:" not in card
    assert "machine" not in card


def test_the_makers_note_stands_in_the_card(finished):
    manifest = load_bundle(finished.run.export).manifest
    note = "A tenth of it is *generated*."
    made = manifest.provenance.model_copy(
        update={"settings": {**manifest.provenance.settings, "card_note": note}}
    )
    card = render_model_card(manifest.model_copy(update={"provenance": made}), facts={}, corpus={})
    assert card.index("## Text it learnt from") < card.index(note) < card.index("Sources:")
    assert note not in render_model_card(manifest, facts={}, corpus={})
