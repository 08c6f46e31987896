"""Mutation check: known bugs are put back into the lane one at a time, and the tests must notice each.

python -m tests.mutations                 all of them; a survivor fails the check
python -m tests.mutations --only "…"      those whose name contains the text
"""
