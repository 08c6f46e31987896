"""Fault runs on a real three-node Kafka cluster: worker processes, real faults, invariants I1 to I7 after each.

`ground.py` is the cluster with its workers, `load.py` what careless sources send, `watch.py` what a consumer sees,
`fold.py` what should have come out, `invariants.py` what must hold, `faults.py` what is done to it.
`test_faults.py` is the bounded set; `python -m tests.faults` goes on for as long as asked (docs/faults.md).
"""
