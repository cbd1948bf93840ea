r"""The steps of a night, in the order data flows; each callable by itself, each idempotent.

ingest -> build -> validate -> snapshot -> train -> evaluate -> promote
                                       \-> score -> audit -> publish
"""
