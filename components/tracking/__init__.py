"""MLflow: runs, metrics, data sets, the model registry.

An adapter, which runs in the launcher's process. Nothing below it knows that MLflow exists. May import evaluate, train
and the rooms below.
"""
