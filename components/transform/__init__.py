"""Transforms: models made of others without training. Runs in the launcher's process, on a CPU, one tensor in memory.

It imports the recipe, the store and what trainers know of weights.
"""
