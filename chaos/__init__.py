"""The fault driver: real workers on a real Kafka are killed, frozen, cut off and crowded, and then the books are read.

`scenarios` says what goes wrong, `stage` is the cluster it goes wrong on, `publisher` the process that sends and keeps
a ledger of what was acknowledged, `comparison` the verdict: the same for every scenario.
"""
