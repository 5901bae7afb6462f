"""Switchpoint: continued pretraining as a workflow on Kubernetes or on one machine.

The stable interface is the command `switchpoint` and the recipe file. The modules below, `switchpoint.components` (what
the tasks do) and `switchpoint.pipelines` (the DAG and the command line), may change with every version. Both are links
to the folders beside this one, so that a checkout, an install, and tools that only read the code see the same names.
"""
