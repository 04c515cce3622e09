"""A service outlives requests that no honest client sends, and answers each as the contract says.

Two thousand in a normal run. For more, and the memory of each process before and after:
``HOSTILE_BODIES=100000 make test ARGS="-s tests/contracts/test_hostile_bodies.py"``.
"""

import os
import re
from pathlib import Path

import pytest
from hostile_bodies import fuzz
from running_service import running_service
from tiny_bundle import tiny_bundle

COUNT = int(os.environ.get("HOSTILE_BODIES", "2000"))
#: Buffers and caches fill at first; what is left over from each request would exceed this.
MAX_GROWTH_BYTES = 160 * 2**20


def processes(service):
    """Every process of the service, by name."""
    found = {"supervisor": service.process.pid} | service.children()
    return found | service.children(found["HTTP server"])


def resident_bytes(service):
    return {
        name: int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) * 1024
        for name, pid in processes(service).items()
    }


@pytest.mark.timeout(180 + COUNT // 20)
def test_hostile_bodies():
    with running_service(tiny_bundle()) as service:
        fine = {"prompt": "One day", "max_tokens": 8, "seed": 7}
        before = service.complete(**fine)["choices"]
        fuzz(service.url, COUNT // 10, seed=1)  # what is allocated once
        alive, memory = processes(service), resident_bytes(service)
        outcome = fuzz(service.url, COUNT)
        after = resident_bytes(service)
        print(f"{COUNT} requests: {dict(outcome.statuses)}")  # noqa: T201
        for name in memory:
            print(f"{name}: {memory[name] >> 20} MiB, then {after[name] >> 20}")  # noqa: T201

        assert not outcome.faults, "\n".join(outcome.faults[:10])
        assert {200, 400, 404, 413, 415} <= outcome.statuses.keys()
        assert processes(service) == alive, service.log()
        assert service.complete(**fine)["choices"] == before
        assert service.load() == (0, 0)
        assert "Traceback" not in service.log()
        for name in memory:
            assert after[name] - memory[name] < MAX_GROWTH_BYTES, name
