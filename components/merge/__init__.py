"""Merges: weighted averages of models. Runs in the launcher's process, on a CPU, in the memory of one tensor."""
