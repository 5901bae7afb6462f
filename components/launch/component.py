"""How a KFP component of ours is declared: the package is in the image, so only a few lines go into the spec."""

import functools

from kfp import dsl

IMAGE = "switchpoint-python:0.1.0"
"""The image that holds this package. `python` must stand in its name: KFP's local runner looks for it."""

component = functools.partial(dsl.component, base_image=IMAGE, install_kfp_package=False)
