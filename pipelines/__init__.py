"""The DAG: compiled to one spec that runs on this machine and on Kubeflow Pipelines."""
