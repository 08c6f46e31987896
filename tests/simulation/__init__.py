"""Deterministic simulation of the lane: one seed is one run, with every fault that the seed draws.

python -m tests.simulation 1234          runs a seed again and prints its schedule of faults
python -m tests.simulation 1234 --trace  and every step of the protocol
"""
