"""Text, corpora, what is selected of them, tokens and samples.

Runs in a task's process; its samples are also read in training ranks. May import launch, store, recipe.
"""
