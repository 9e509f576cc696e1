"""Measures the product beside what else could be used: `python -m benchmarks`, or `make bench`.

Every measurement runs the real processes on one real broker that is started for it and gone afterwards. What is
compared is measured in interleaved rounds on the same broker, so that a slow minute of the machine hits all alike;
ratios of one run say more than figures of two. docs/benchmarks.md holds what was measured last, and how to repeat it.
"""
