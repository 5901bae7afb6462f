"""Jobs through TorchX, on this machine or as Volcano Jobs, and what every task does around its work.

Runs in the launcher's process; imports no torch. May import store and recipe.
"""
