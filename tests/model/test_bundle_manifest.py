import copy
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from model.bundle.manifest import (
    SCHEMA_VERSION,
    BundleManifest,
    NetworkFile,
    Provenance,
    Score,
    Scores,
    SelfCheck,
    TokenizerFile,
    WeightsFile,
    parse_manifest,
    read_manifest,
)
from model.config import ModelConfig
from model.errors import BundleCorruptError, BundleSchemaError

SOURCE = Path("bundles/x/1/bundle.json")

digests = st.text("0123456789abcdef", min_size=64, max_size=64)
scores = st.builds(
    Score,
    nats_per_token=st.floats(0, 1e3),
    perplexity=st.floats(1, 1e300),
    bits_per_byte=st.floats(0, 1e3),
    num_tokens=st.integers(1, 10**12),
    num_bytes=st.integers(1, 10**12),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
manifests = st.builds(
    BundleManifest,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True),
    version=st.none() | st.integers(1, 10**6),
    created=st.floats(0, 1e11),
    config=st.builds(
        ModelConfig,
        vocab_size=st.just(50),
        cell=st.sampled_from(["simple_rnn", "gru", "lstm"]),
        embedding_size=st.integers(1, 16_384),
        hidden_size=st.integers(1, 16_384),
        num_layers=st.integers(1, 64),
        tie_embeddings=st.booleans(),
        dropout=st.floats(0, 1, exclude_max=True),
    ),
    tokenizer=st.builds(
        TokenizerFile,
        kind=st.sampled_from(["char", "word", "bpe"]),
        vocab_size=st.just(50),
        digest=digests,
    ),
    network=st.builds(
        NetworkFile,
        quantisation=st.sampled_from(["int8", "float32"]),
        bytes=st.integers(1, 10**12),
        signatures=st.lists(st.text(), max_size=3).map(tuple),
        digest=digests,
    ),
    weights=st.builds(WeightsFile, dtype=st.sampled_from(["float16", "float32"])),
    scores=st.builds(
        Scores,
        float32=scores,
        int8=st.none() | scores,
        ngram=st.dictionaries(st.integers(1, 5), scores),
    ),
    provenance=st.builds(
        Provenance,
        corpus_digest=st.text(),
        source_titles=st.lists(st.text(), max_size=3).map(tuple),
        seed=st.integers(),
        settings=st.dictionaries(st.text(), json_values, max_size=3),
        code_version=st.text(),
        minutes=st.none() | st.floats(0, 1e6),
        machine=st.none() | st.text(),
    ),
    self_check=st.lists(
        st.tuples(st.integers(0, 49), st.floats(-1e6, 1e6)), min_size=1, max_size=16
    ).map(
        lambda pairs: SelfCheck(
            prompt_token_ids=(0, 7),
            token_ids=tuple(token_id for token_id, _ in pairs),
            logits=tuple(logit for _, logit in pairs),
            tolerance=0.1,
        )
    ),
)


@pytest.fixture
def fields(bundle_source: Path) -> dict:
    return json.loads((bundle_source / "bundle.json").read_text())


@given(manifests)
def test_what_is_written_is_read_back_equal(manifest: BundleManifest) -> None:
    assert parse_manifest(manifest.to_json(), SOURCE) == manifest


def paths_to_required_fields() -> list[str]:
    optional = {
        "schema_version", "version", "tokenizer.file", "network.file", "weights.file",
        "weights.dtype", "scores.int8", "scores.ngram", "provenance.source_titles",
        "provenance.settings", "provenance.minutes", "provenance.machine",
        "example_prompt",
    }  # fmt: skip
    paths = []
    for name, field in BundleManifest.model_fields.items():
        inner = getattr(field.annotation, "model_fields", {})
        paths += [name, *(f"{name}.{key}" for key in inner)]
    return [path for path in paths if path not in optional]


@pytest.mark.parametrize("path", paths_to_required_fields())
def test_a_missing_field_is_named(fields: dict, path: str) -> None:
    *outer, key = path.split(".")
    part = fields
    for name in outer:
        part = part[name]
    del part[key]
    with pytest.raises(BundleCorruptError) as caught:
        parse_manifest(json.dumps(fields), SOURCE)
    assert str(SOURCE) in str(caught.value)
    assert path in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema_version", 0),
        ("schema_version", "1"),
        ("name", "../travel"),
        ("name", ""),
        ("version", 0),
        ("version", "3"),
        ("created", "yesterday"),
        ("created", float("nan")),
        ("config", []),
        ("config", {"vocab_size": 10, "hidden_size": 0}),
        ("config", {"vocab_size": 10, "hiden_size": 4}),
        ("config", {"vocab_size": 10, "cell": ["lstm"]}),
        ("tokenizer.kind", "sentencepiece"),
        ("tokenizer.digest", "abc"),
        ("tokenizer.file", "../../etc/passwd"),
        ("network.file", "/etc/passwd"),
        ("network.file", ".hidden"),
        ("network.bytes", 1.5),
        ("network.bytes", True),
        ("network.signatures", "step_1"),
        ("weights.dtype", "int4"),
        ("scores.float32", None),
        ("scores.float32", {"nats_per_token": -1}),
        ("scores.ngram", {"two": {}}),
        ("provenance.seed", None),
        ("self_check.prompt_token_ids", []),
        ("self_check.token_ids", [-1, 2]),
        ("self_check.tolerance", 0),
    ],
)
def test_a_wrong_value_is_named(fields: dict, path: str, value: object) -> None:
    *outer, key = path.split(".")
    part = fields
    for name in outer:
        part = part[name]
    part[key] = value
    with pytest.raises(BundleCorruptError) as caught:
        parse_manifest(json.dumps(fields), SOURCE)
    assert str(SOURCE) in str(caught.value)
    assert path in str(caught.value)


def test_parts_that_contradict_each_other_are_refused(fields: dict) -> None:
    other_vocabulary = copy.deepcopy(fields)
    other_vocabulary["tokenizer"]["vocab_size"] = 11
    with pytest.raises(BundleCorruptError, match=r"tokenizer\.vocab_size is 11"):
        parse_manifest(json.dumps(other_vocabulary), SOURCE)

    unknown_token = copy.deepcopy(fields)
    unknown_token["self_check"]["token_ids"] = [1, 10]
    with pytest.raises(BundleCorruptError, match="token 10"):
        parse_manifest(json.dumps(unknown_token), SOURCE)

    lost_logit = copy.deepcopy(fields)
    lost_logit["self_check"]["logits"] = [0.5]
    with pytest.raises(BundleCorruptError, match="2 token_ids but 1 logits"):
        parse_manifest(json.dumps(lost_logit), SOURCE)


def test_a_newer_schema_is_refused_as_such_whatever_else_it_holds() -> None:
    text = json.dumps({"schema_version": SCHEMA_VERSION + 1, "anything": "new"})
    with pytest.raises(BundleSchemaError, match=r"schema_version 2.*up to 1"):
        parse_manifest(text, SOURCE)


def test_fields_added_by_a_newer_program_are_ignored(fields: dict) -> None:
    expected = parse_manifest(json.dumps(fields), SOURCE)
    fields["added"] = 1
    fields["network"]["added"] = {"later": True}
    assert parse_manifest(json.dumps(fields), SOURCE) == expected


def test_a_field_misspelt_when_writing_is_refused() -> None:
    with pytest.raises(ValidationError, match="dtpye"):
        WeightsFile(dtpye="float16")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "1", '"text"', "[" * 100_000, "{}", b"\xff\xfe{}"],
    ids=["empty", "cut", "list", "null", "number", "text", "deep", "blank", "bytes"],
)
def test_no_manifest_at_all(text: str | bytes) -> None:
    with pytest.raises(BundleCorruptError, match=str(SOURCE)):
        parse_manifest(text, SOURCE)


@settings(max_examples=30)
@given(st.data())
def test_a_cut_manifest_is_always_refused(data: st.DataObject) -> None:
    text = data.draw(manifests).to_json().rstrip()
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(BundleCorruptError):
        parse_manifest(text[:cut], SOURCE)


def test_an_unreadable_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleCorruptError, match=r"bundle\.json cannot be read"):
        read_manifest(tmp_path)


def test_a_manifest_cannot_be_changed(bundle_source: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        read_manifest(bundle_source).version = 2
