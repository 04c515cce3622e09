"""A service outlives requests that no honest client sends, and answers each as the contract says.

Two thousand in a normal run. ``make fuzz COUNT=100000`` sends more, and shows the memory of each
process as it goes.
"""

import os
import re
from collections import Counter
from pathlib import Path

import pytest
from hostile_bodies import fuzz
from running_service import running_service, wait_until
from tiny_bundle import tiny_bundle

COUNT = int(os.environ.get("HOSTILE_BODIES", "2000"))
NUM_ROUNDS = 10
#: Buffers and caches fill in the first round; what is left over from each request would exceed it.
MAX_GROWTH_BYTES = 64 * 2**20
#: Nothing may take longer: the service is told to give up by then.
REQUEST_TIMEOUT_SECONDS = 30


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
    timeout = ("--request-timeout-s", str(REQUEST_TIMEOUT_SECONDS))
    with running_service(tiny_bundle(), *timeout) as service:
        fine = {"prompt": "One day", "max_tokens": 8, "seed": 7}
        before = service.complete(**fine)["choices"]
        alive, statuses, memory = processes(service), Counter(), []
        print("\nrequests |", " | ".join(alive), "| MiB, slowest answer in s")  # noqa: T201
        for index in range(NUM_ROUNDS):
            outcome = fuzz(service.url, COUNT // NUM_ROUNDS, seed=index)
            statuses += outcome.statuses
            memory.append(resident_bytes(service))
            sizes = " | ".join(str(size >> 20) for size in memory[-1].values())
            print(statuses.total(), "|", sizes, "|", round(outcome.slowest_seconds, 1))  # noqa: T201
            assert not outcome.faults, "\n".join(outcome.faults[:10])
            assert outcome.slowest_seconds < REQUEST_TIMEOUT_SECONDS + 5
        print(dict(statuses))  # noqa: T201

        assert {200, 400, 404, 413, 415} <= statuses.keys()
        assert processes(service) == alive, service.log()
        assert service.complete(**fine)["choices"] == before
        wait_until(lambda: service.load() == (0, 0), "nothing runs for clients that are gone")
        assert "Traceback" not in service.log()
        for name, size in memory[-1].items():
            assert size - memory[0][name] < MAX_GROWTH_BYTES, name
