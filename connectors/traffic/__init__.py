"""Traffic for the demo, the tests and the benchmarks: invented fleets, and real traces read as fleets.

`generator` invents a fleet of agents with characters and writes what they do as columns; `azure_llm` and `tau_bench`
read real traces into the same columns; `batches` turns columns into the bytes of Kafka records, with a few repeats
and damaged records (`flaws`) in between. Everything is a function of a seed or a file: the same input gives the same
events.
"""
