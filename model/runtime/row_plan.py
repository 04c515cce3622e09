"""Cuts a batch of any size into batches of the sizes at hand. Knows sizes and costs, no network."""

from __future__ import annotations

from collections.abc import Mapping


class RowPlan:
    """The cheapest way to cover any number of rows with batches of given sizes.

    Whether 3 rows are best run as 4, one of them idle, or as 1 + 1 + 1 depends on the processor:
    one with integer matrix units runs 4 rows nearly in the time of one, one without needs nearly
    four times as long. So the costs are measured, and this finds the least sum:
    cost(n) = min over sizes b of cost of b + cost(n - b); among equals, the fewest batches, then
    the smallest.

    Args:
        costs: for each batch size, what one run costs, in whole units such as nanoseconds. A
            measurement that makes a batch dearer than a larger one, or than smaller ones in its
            place, was disturbed and is not believed.
    """

    def __init__(self, costs: Mapping[int, int]) -> None:
        self._costs: dict[int, int] = {}
        for size in sorted(costs):
            by_larger = min(cost for larger, cost in costs.items() if larger >= size)
            by_smaller = (cost * -(-size // smaller) for smaller, cost in self._costs.items())
            self._costs[size] = min((by_larger, *by_smaller))
        self._least_cost = [0]
        self._num_batches = [0]
        self._first_size = [0]

    def pieces(self, rows: int) -> list[int]:
        """Batch sizes that hold ``rows`` together, largest first; only the last may have room."""
        for n in range(len(self._least_cost), rows + 1):
            cost, num_batches, size = min(
                (cost + self._least_cost[rest], 1 + self._num_batches[rest], size)
                for size, cost in self._costs.items()
                for rest in (max(0, n - size),)
            )
            self._least_cost.append(cost)
            self._num_batches.append(num_batches)
            self._first_size.append(size)
        sizes = []
        while rows > 0:
            sizes.append(self._first_size[rows])
            rows -= sizes[-1]
        return sorted(sizes, reverse=True)
