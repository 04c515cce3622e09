"""Ids of requests and answers."""

import re

from service.new_id import new_id


def test_ids_are_of_their_kind_and_never_the_same():
    ids = {new_id("cmpl") for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"cmpl-[0-9a-f]{32}", name) for name in ids)
