"""What a report and a model card say of a network in numbers and words. Loads no TensorFlow."""

from __future__ import annotations

from model.bundle.manifest import BundleManifest, Provenance
from model.config import ModelConfig
from model.tokenizers.kinds import TokenizerKind


def model_facts(manifest: BundleManifest) -> dict[str, object]:
    """The model in a few lines, label to value."""
    return {
        **network_facts(manifest.config, manifest.tokenizer.kind),
        "size as served": f"{manifest.network.bytes / 1e6:.1f} MB",
    }


def network_facts(config: ModelConfig, tokenizer_kind: TokenizerKind) -> dict[str, object]:
    """The network in a few lines, label to value."""
    return {
        "network": f"{config.cell}, {config.num_layers} x {config.hidden_size}",
        "embedding": f"{config.embedding_size}{', tied' if config.tie_embeddings else ''}",
        "weights": f"{config.num_weights():,}",
        "tokens": f"{tokenizer_kind}, {config.vocab_size:,} ids",
    }


def origin_facts(provenance: Provenance) -> dict[str, object]:
    """Where a bundle comes from in a few lines, label to value."""
    return {
        "corpus digest": provenance.corpus_digest,
        "seed": provenance.seed,
        "code version": provenance.code_version,
        "machine": provenance.machine,
        "minutes of training": provenance.minutes,
    }
