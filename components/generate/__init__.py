"""Text that a base generates: a source of the study, made after that base.

`run` is the launcher; `app`, `sample` and `shards` run in the generating process. May import transform, merge, train
and the rooms below.
"""
