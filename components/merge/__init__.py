"""Weighted averages of models.

Runs in the launcher's process, on a CPU, with one tensor in memory. May import train and the rooms below.
"""
