"""Damaged inputs for every reader: seeds, mutations, a pool with limits, kinds of failures."""
