"""The task `plan`: a study checked, expanded and priced.

Runs in a task's process. May import data, launch, store, recipe.
"""
