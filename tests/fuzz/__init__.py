"""Bytes that nobody meant, by the million: what comes from outside is refused by name, and nothing else happens.

`python -m tests.fuzz` (`make fuzz`). Every input follows from a seed and the number of its case, so a finding is
repeated by naming them. Kernels run with bounds checking on. docs/fuzzing.md says what was run and found.
"""
