"""The launcher of what is trained: bases, the phases of an arm in order, and the gates between them.

Runs in the launcher's process; a rank runs code of `train`. May import tracking, evaluate and the rooms below.
"""
