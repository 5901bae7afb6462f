"""Sources: where text comes from, how much of it there is, how often it may be drawn."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from components.recipe.fields import Config, Epochs, Name, Tokens, at_most_one_of

PythonPart = Literal["topics", "docstrings", "code", "qa"]


class Tier(Config):
    """A subset of a source's documents by quality: it changes which documents are drawn, not the weight."""

    tokens: Tokens
    """Its training tokens. Required: epochs are counted by it."""
    documents: str = "*"
    """Which documents: a pattern over their names (the path inside the folder), as `long/*`."""


class Source(Config):
    """Text: a part of the Python installation or environment, or a folder of UTF-8 text files.

    A source with neither can be planned with, from its `tokens`, and not run.
    """

    python: PythonPart | None = None
    environment: str | None = None
    """A part of the text that the installed packages carry: what `--scale cpu` binds a paper's sources to."""
    folder: str | None = None
    tokens: Tokens | None = None
    """Training tokens, as far as they are known before the text is tokenised: blends by tokens or epochs, and moving
    what exceeds `max_epochs`, are worked out from this number; epochs are counted by what was tokenised, once it is."""
    category: str = ""
    """A group of sources: blends can name it."""
    language: str = ""
    tiers: dict[Name, Tier] = Field(default_factory=dict)
    max_epochs: Epochs | None = None
    """The most often that the whole run may go through the source. Not given: no cap."""
    excess: Literal["refuse", "move"] | None = None
    """What happens to draws beyond `max_epochs`: the recipe is refused, or they go to the phase's other sources in
    proportion to their weights. Required with `max_epochs`."""

    @model_validator(mode="after")
    def _one_place(self) -> "Source":
        if at_most_one_of(self, "python", "environment", "folder") is None and self.tokens is None:
            raise ValueError(
                "give `folder:` (a path) or `python:` (topics, docstrings, code, qa); or, for a plan only, `tokens:`"
            )
        if (self.max_epochs is None) != (self.excess is None):
            raise ValueError("`max_epochs:` and `excess:` (refuse or move) go together")
        if self.excess == "move" and self.tokens is None:
            raise ValueError("to move what exceeds max_epochs, the source's size must be known: give `tokens:`")
        if self.tiers and self.python:
            raise ValueError("tiers select documents by name: only `folder:` has such names")
        return self

    @property
    def has_text(self) -> bool:
        return bool(self.python or self.environment or self.folder)


SourceKey = Annotated[str, "a source's name, with @TIER where a tier of it is drawn"]


def source_key(source: str, tier: str | None) -> SourceKey:
    """Names what is drawn: a source, or one of its tiers."""
    return f"{source}@{tier}" if tier else source


def split_key(key: SourceKey) -> tuple[str, str]:
    """(source, tier); the tier is empty where the whole source is drawn."""
    source, _, tier = key.partition("@")
    return source, tier
