"""The demo: a fleet is invented, or read from a trace, and published, governed by a real worker, watched to the end.

Three processes of ours on one Kafka: the publisher, the worker (the same as in production), and this one, which reads
the derived topics read-committed and keeps account of every single event. `run` strings them together, `tally` is the
account, `report` what is told at the end, `view` what is seen meanwhile.
"""
