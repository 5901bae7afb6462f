"""How a KFP component of ours is declared: the package is in the image, so only a few lines go into the spec."""

import functools

from kfp import dsl

IMAGE = "switchpoint-python:0.1.0"
"""The image that holds this package. `python` must stand in its name: KFP's local runner looks for it."""

component = functools.partial(dsl.component, base_image=IMAGE, install_kfp_package=False)

_HANDED_ON = (dsl.TaskConfigField.KUBERNETES_NODE_SELECTOR, dsl.TaskConfigField.KUBERNETES_TOLERATIONS,
              dsl.TaskConfigField.KUBERNETES_AFFINITY)  # fmt: skip
_SHARED = (dsl.TaskConfigField.ENV, dsl.TaskConfigField.KUBERNETES_VOLUMES)
launcher = functools.partial(
    component,
    task_config_passthroughs=[
        *_HANDED_ON, *(dsl.TaskConfigPassthrough(field=field, apply_to_task=True) for field in _SHARED),
    ],
)  # fmt: skip
"""A component that starts jobs. The node selector and tolerations are for the jobs' pods; environment and volumes are
for both."""
