"""The launcher of what is trained: bases and what they generate, the phases of an arm in order, the gates between them.

Runs in the launcher's process; a rank runs code of `train`. May import tracking, evaluate, generate and the rooms
below.
"""
