"""The vocabulary, as pure code: the recipe and its sections, schedules, clocks, counts, the plan, digests.

Runs in every process; imports no other room, and no torch, kfp, mlflow or kubernetes.
"""
