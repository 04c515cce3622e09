"""The stages in their order, and what each hands to the next through the run's directory.

Every stage looks at what is there first: done work is not done again, half-done work goes on.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

from model.bundle.durable_files import replace_file
from model.bundle.load import Bundle, load_bundle
from model.bundle.manifest import Provenance, Scores
from model.config import ModelConfig
from model.errors import ConfigurationError, TrainingError
from model.network.export import export_network
from model.runtime.litert_runtime import LiteRTRuntime
from model.state import FloatArray
from model.tokenizers.tokenizer import Tokenizer
from training.checkpoint import has_checkpoint
from training.cluster import Cluster
from training.data_parallel import ALONE, ManyWorkers, Workers
from training.evaluate import held_out_text, network_nats, quality_loss, runtime_nats
from training.export import export_run
from training.gradient_reach import measure_gradient_reach
from training.graphics_processor import sees_graphics_processor
from training.initial_weights import alike_bundles, mean_weights
from training.interruption import stop_on_signals
from training.log_records import read_log
from training.meeting import meet
from training.ngram import NgramModel
from training.plan import Dtype, Plan
from training.planning import make_plan
from training.prepare import PrepareSettings, prepare
from training.prepare_progress import prepare_progress
from training.prepared_corpus import PreparedCorpus
from training.progress import TrainingStatus, training_progress
from training.provenance import corpus_facts, make_provenance
from training.publish import publish_run
from training.recurrence_probe import faster_recurrence
from training.run_directory import RunDirectory, read_json, write_json
from training.run_record import RunRecord
from training.samples import write_samples
from training.settings import Settings
from training.speed import estimate_speed, processor_has_bfloat16
from training.splits import Split
from training.token_file import TokenArray
from training.train import Trainer, trained_weights
from training.widening import widened_config

#: What a bundle's self-check reads. A sentence of our own: a bundle that is handed on must not
#: quote the text it was made from.
_CHECK_TEXT = "In Italy, I had a great time and I learnt some of the language."

#: Tells the person at the keyboard one line.
Say = Callable[[str], None]


class Pipeline:
    """The stages of one run.

    Args:
        run: its directory.
        settings: its settings.
        say: is told what is done.
        cluster: the place of this process among those that train together.
    """

    def __init__(
        self, run: RunDirectory, settings: Settings, say: Say, cluster: Cluster | None = None
    ) -> None:
        self._run = run
        self._settings = settings
        self._say = say
        self._cluster = cluster or Cluster()

    def run_all(self) -> None:
        """All stages, one after the other.

        Raises:
            ConfigurationError: several processes were to do so together.
        """
        if self._cluster.num_workers > 1:
            raise ConfigurationError(
                "TF_CONFIG names several workers, who share the stage train alone; start prepare "
                "once, then train on each, then evaluate, export and publish on the chief's machine"
            )
        self.prepare()
        self.train()
        self.evaluate()
        self.export()
        self.publish()

    def prepare(self) -> None:
        """Corpus to tokenizer and token ids.

        Raises:
            ConfigurationError: no corpus is given, or the bundles to start from are not alike or
                cannot be given the widths asked for.
            CorpusError: a text cannot be used; names the file.
        """
        settings = self._settings
        if settings.corpus is None:
            raise ConfigurationError("--corpus is missing; give a file or folder of text")
        base = self._base
        if base is not None:
            config = widened_config(base.config, settings.hidden_size, settings.embedding_size)
            if settings.average_with:
                alike_bundles([base.directory, *settings.average_with], config)
        with prepare_progress(sys.stderr) as show:
            prepared = prepare(
                PrepareSettings(
                    corpus=settings.corpus,
                    output=self._run.prepared,
                    tokenizer_kind=settings.tokenizer or "bpe",
                    vocab_size=settings.vocab_size,
                    tokenizer=None if base is None else base.tokenizer_path,
                    validation=settings.validation,
                    test=settings.test,
                    validation_share=settings.validation_share,
                    test_share=settings.test_share,
                    jsonl_field=settings.field,
                    csv_column=settings.column,
                ),
                show,
            )
        train = prepared.splits["train"]
        self._say(
            f"prepared {train.num_tokens:,} training tokens ({train.num_bytes / 1e6:.1f} MB of "
            f"text, {train.num_documents:,} documents), {prepared.tokenizer_kind} vocabulary of "
            f"{prepared.vocab_size:,}"
        )

    def train(self) -> None:
        """Token ids to weights, within the budget.

        Raises:
            TrainingError: the run is not prepared, training diverges, or it was stopped.
            ConfigurationError: the settings contradict the bundle to fine-tune.
        """
        started = time.monotonic()
        workers = self._workers()
        plan = self._shared_plan(workers)
        with (
            training_progress(sys.stderr) as show,
            stop_on_signals() as should_stop,
        ):
            trainer = Trainer(
                plan,
                self._run,
                train_ids=self._token_ids("train"),
                validation_ids=self._token_ids("validation"),
                end_of_text_id=self._tokenizer.end_of_text_id,
                initial_weights=self._initial_weights(plan) if self._cluster.is_chief else None,
                started=started,
                checkpoint_seconds=self._settings.checkpoint_seconds,
                show=show if self._cluster.is_chief else _show_nothing,
                should_stop=should_stop,
                workers=workers,
            )
            trainer.run()
        if not self._cluster.is_chief:
            self._say(f"trained as worker {self._cluster.index}; the chief has the result")
            return
        _, meta = trained_weights(self._run)
        self._say(
            f"trained {meta['step']:,} steps in {meta['seconds'] / 60:.1f} minutes; best "
            f"validation {meta['best_loss']:.4f} nats per token at step {meta['best_step']:,}"
        )

    def _workers(self) -> Workers:
        """With whom this process trains; returns when all of them are there."""
        cluster = self._cluster
        if cluster.num_workers == 1:
            return ALONE
        self._say(f"worker {cluster.index} of {cluster.num_workers}: waiting for the others")
        with stop_on_signals() as should_stop:
            meet(cluster, should_stop)
        return ManyWorkers(cluster)

    def evaluate(self) -> None:
        """Scores of the float network, the int8 network and the n-grams on held-out text.

        Raises:
            TrainingError: the run is not trained.
        """
        weights, _ = trained_weights(self._run)
        inputs = {
            "weights": _digest_of(weights),
            "evaluation_tokens": self._settings.evaluation_tokens,
        }
        if self._evaluated_from() == inputs:
            self._say("evaluated before, with the same weights: nothing to do")
            return
        text = held_out_text(
            self._token_ids("test"), self._tokenizer, self._settings.evaluation_tokens
        )
        config = self._plan().config
        self._say(f"evaluating on {text.num_tokens:,} tokens of held-out text")
        self._write_network(export_network(config, weights, quantise=True))
        float32 = text.score(network_nats(config, weights, text))
        int8 = text.score(runtime_nats(LiteRTRuntime(self._run.network, config), text))
        ngram = NgramModel(self._token_ids("train"), config.vocab_size).score(
            text.token_ids, text.num_bytes
        )
        scores = Scores(float32=float32, int8=int8, ngram=ngram)
        write_json(self._run.evaluation, {"inputs": inputs, **scores.model_dump(mode="json")})
        self._say(
            f"held-out bits per byte: float {float32.bits_per_byte:.4f}, int8 "
            f"{int8.bits_per_byte:.4f} ({quality_loss(float32, int8):+.2%}), "
            f"{max(ngram)}-gram {ngram[max(ngram)].bits_per_byte:.4f}"
        )

    def export(self) -> None:
        """Weights, network, tokenizer, report and model card as a bundle's files.

        Raises:
            TrainingError: the run is not evaluated, or the disk refuses.
        """
        weights, meta = trained_weights(self._run)
        scores = self._scores()
        if self._is_exported():
            self._say("exported before, from the same evaluation: nothing to do")
            return
        provenance = make_provenance(self._prepared, self._settings, meta["seconds"])
        start = [self._tokenizer.end_of_text_id]
        export_run(
            self._run,
            config=self._plan().config,
            weights=weights,
            network=self._run.network,
            scores=scores,
            provenance=provenance,
            corpus=corpus_facts(self._prepared),
            example_prompt=self._settings.example_prompt,
            check_token_ids=start + self._tokenizer.encode(_CHECK_TEXT),
            record=self._record(weights, scores, provenance),
        )
        write_json(self._run.exported, self._export_inputs())
        self._say(f"exported to {self._run.export}")

    def _record(
        self, weights: Mapping[str, FloatArray], scores: Scores, provenance: Provenance
    ) -> RunRecord:
        """What the report shows; the samples and the gradient reach are made for it here."""
        plan = self._plan()
        test_ids, end_of_text_id = self._token_ids("test"), self._tokenizer.end_of_text_id
        self._say("measuring the gradient reach, writing samples")
        return RunRecord(
            name=self._run.name,
            status="finished",
            settings=provenance.settings,
            # Where the bundles that were fine-tuned lay on this machine tells nobody anything.
            plan={**plan.to_dict(), "initial_weights": None, "averaged_with": ()},
            scores=scores,
            log=read_log(self._run.log),
            train_tokens=self._prepared.splits["train"].num_tokens,
            bytes_per_token=scores.float32.num_bytes / scores.float32.num_tokens,
            samples=write_samples(
                LiteRTRuntime(self._run.network, plan.config),
                self._tokenizer,
                [end_of_text_id],
                self._settings.seed,
            ),
            gradient_reach=measure_gradient_reach(plan.config, weights, test_ids, end_of_text_id),
        )

    def publish(self) -> None:
        """The exported bundle into the folder of bundles, as the version served.

        Raises:
            TrainingError: int8 is worse than float by more than the bound.
            BundleError: the export is missing or damaged, or the disk refuses.
        """
        scores = self._scores()
        assert scores.int8 is not None  # evaluate always scores it
        loss = quality_loss(scores.float32, scores.int8)
        if loss > self._settings.max_quality_loss:
            raise TrainingError(
                f"not published: the int8 network needs {loss:.2%} more bits per byte than the "
                f"float one; --max-quality-loss is {self._settings.max_quality_loss:g}"
            )
        if not self._is_exported():
            raise TrainingError(
                f"run {self._run.name} is not exported since its last evaluation or with "
                "another --example-prompt; start: "
                f"python -m training export --name {self._run.name}"
            )
        version, is_new = publish_run(self._run, self._settings.bundles)
        place = self._settings.bundles / self._run.name
        if is_new:
            self._say(f"published {place} version {version}")
        else:
            self._say(f"published before: {place} version {version}; --restart trains another")

    @cached_property
    def _prepared(self) -> PreparedCorpus:
        if not self._run.prepared.is_dir():
            raise TrainingError(
                f"run {self._run.name} is not prepared yet; start: python -m training prepare "
                f"--name {self._run.name} --corpus PATH"
            )
        return PreparedCorpus.load(self._run.prepared)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return self._prepared.tokenizer()

    @cached_property
    def _base(self) -> Bundle | None:
        """The bundle to fine-tune, if any."""
        path = self._settings.from_bundle
        return None if path is None else load_bundle(path)

    def _token_ids(self, split: Split) -> TokenArray:
        return self._prepared.token_file(split).ids()

    def _shared_plan(self, workers: Workers) -> Plan:
        """The plan of all workers: that of the chief.

        Raises:
            ConfigurationError: they have not prepared the same corpus.
        """
        own = self._plan().to_dict() if self._cluster.is_chief else {}
        shared = workers.chiefs_values({"plan": own, "corpus": self._corpus_digest()})
        if shared["corpus"] != self._corpus_digest():
            raise ConfigurationError(
                f"{self._run.prepared} was not prepared from the chief's corpus; copy the chief's "
                "folder here"
            )
        return Plan.from_dict(shared["plan"])

    def _corpus_digest(self) -> str:
        return _digest_of_json([self._prepared.digest, self._prepared.tokenizer_digest])

    def _speed(self, config: ModelConfig, batch_size: int, window: int, dtype: Dtype) -> float:
        """Tokens per second of all workers together, if they are like this one."""
        number = self._cluster.num_workers
        return number * estimate_speed(config, max(1, batch_size // number), window, dtype)

    def _plan(self) -> Plan:
        """The run's plan: the one it was started with, or a new one."""
        corpus = self._corpus_digest()
        if self._run.plan.exists():
            saved = read_json(self._run.plan)
            if saved["corpus"] == corpus and has_checkpoint(self._run.checkpoints):
                return Plan.from_dict(saved["plan"])
            if has_checkpoint(self._run.checkpoints):
                raise ConfigurationError(
                    f"the corpus of run {self._run.name} has changed since its training began; "
                    "give --restart to train anew, or choose another --name"
                )
        base = self._base
        plan = make_plan(
            self._settings,
            vocab_size=self._tokenizer.vocab_size,
            corpus_tokens=len(self._token_ids("train")),
            base=None if base is None else base.config,
            base_directory=None if base is None else base.directory,
            measure_speed=self._speed,
            faster_recurrence=faster_recurrence,
            processor_has_bfloat16=processor_has_bfloat16() or sees_graphics_processor(),
        )
        write_json(self._run.plan, {"corpus": corpus, "plan": plan.to_dict()})
        self._say(plan.summary())
        return plan

    def _initial_weights(self, plan: Plan) -> dict[str, FloatArray] | None:
        if plan.initial_weights is None:
            return None
        paths = [Path(path) for path in (plan.initial_weights, *plan.averaged_with)]
        return mean_weights(paths, plan.config, plan.seed)

    def _evaluated_from(self) -> object:
        if not (self._run.evaluation.exists() and self._run.network.exists()):
            return None
        return read_json(self._run.evaluation).get("inputs")

    def _export_inputs(self) -> dict[str, str]:
        return {
            "evaluation": hashlib.sha256(self._run.evaluation.read_bytes()).hexdigest(),
            "example_prompt": self._settings.example_prompt,
        }

    def _is_exported(self) -> bool:
        """Whether the export was made from the evaluation there is."""
        exported = self._run.exported
        return exported.exists() and read_json(exported) == self._export_inputs()

    def _scores(self) -> Scores:
        if not self._run.evaluation.exists():
            raise TrainingError(
                f"run {self._run.name} is not evaluated yet; start: python -m training evaluate "
                f"--name {self._run.name}"
            )
        values = read_json(self._run.evaluation)
        values.pop("inputs", None)
        return Scores.model_validate(values, strict=False)

    def _write_network(self, network: bytes) -> None:
        path = self._run.network
        try:
            replace_file(path, network, path.with_name(f".{path.name}.incoming"))
        except OSError as error:
            raise TrainingError(f"cannot write {path}: {error.strerror or error}") from error


def _show_nothing(status: TrainingStatus) -> None:
    """The chief shows what all do."""


def _digest_of(weights: Mapping[str, FloatArray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].tobytes())
    return digest.hexdigest()


def _digest_of_json(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
