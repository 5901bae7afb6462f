"""Models made of others without training.

Runs in the launcher's process, on a CPU, with one tensor in memory. May import merge, train and the rooms below.
"""
