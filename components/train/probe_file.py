"""Probes: texts and questions that a model is evaluated on while it trains, as token ids in one file.

Made once, before training (`components/evaluate/make_probes.py`); the trainer reads it and needs nothing else.
"""

from switchpoint.components.recipe.fields import Config

PROBES = "probes.json"


class ProbeText(Config):
    source: str
    tokens: list[int]
    """What stands before a text, and the beginning of a document."""
    num_given: int = 1
    """How many of the tokens stand before the text: they are not predicted."""
    num_bytes: int
    """The number of bytes that the tokens of the text stand for."""


class ProbeQuestion(Config):
    task: str
    pairs: list[tuple[list[int], list[int]]]
    """Context and continuation of every choice."""
    lengths: list[float]
    """The number that a choice's log-likelihood is divided by."""
    gold: int
    """Which choice is right."""


class ProbeFile(Config):
    texts: list[ProbeText]
    questions: list[ProbeQuestion]
