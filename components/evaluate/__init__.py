"""Scores of models, and what came out of a study.

`run` is the launcher; `app`, `check_app`, `harness`, `load` and the sandbox run in the evaluating process. May import
transform, merge, train and the rooms below.
"""
