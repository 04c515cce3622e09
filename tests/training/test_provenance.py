"""What a bundle says of its origin."""

import os

from training.prepared_corpus import PreparedCorpus
from training.provenance import code_version, corpus_facts, machine_description


def test_the_machine_is_its_processor_and_usable_cores(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n")
    cores = len(os.sched_getaffinity(0))
    assert machine_description(cpuinfo) == f"Some CPU @ 2 GHz, {cores} cores"
    assert machine_description(tmp_path / "missing").endswith(f", {cores} cores")


def test_the_version_of_the_code_is_known():
    assert code_version()


def test_the_corpus_is_told_split_by_split(finished):
    facts = corpus_facts(PreparedCorpus.load(finished.run.prepared))
    assert set(facts) == {"train", "validation", "test", "repeated documents left out"}
    assert "tokens" in str(facts["train"])
