"""The rules once more, from their text alone: dictionaries, fractions and one event at a time.

Written from the specification of the domain and docs/rules.md without the stages at hand, as slow and as obvious as can
be. Whatever the compiled pipeline says is compared with it, to the bit.
"""
