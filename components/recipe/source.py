"""Sources: the origin of text, how much of it there is, how often it may be drawn."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from switchpoint.components.recipe.fields import Config, Epochs, Name, Tokens, at_most_one_of
from switchpoint.components.recipe.generate import GenerateConfig

MINED, GENERATED = "mined", "generated"
PYTHON_ORIGIN, ENVIRONMENT_ORIGIN = GENERATED_ORIGINS = ("python", "environment")
"""The origins of documents that the step `text` makes and splits; others are read from the user's files."""

Filter = Literal["gopher_quality", "gopher_repetition", "c4_quality", "fineweb_quality"]
PythonPart = Literal["topics", "docstrings", "code", "qa"]


class Tier(Config):
    """A subset of a source's documents by quality: it changes which documents are drawn, not the weight."""

    tokens: Tokens
    """Its training tokens. Required: epochs are counted by it."""
    documents: str = "*"
    """Which documents: a pattern over their names (the path inside the folder), as `long/*`."""
    best: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Only those that are most like the source's `reference`: this share of its tokens, by perplexity."""


class Mine(Config):
    """Documents of other sources that are nearest to QA documents."""

    sources: Annotated[list[Name], Field(min_length=1)]
    """What is mined: sources of text."""
    like: Annotated[list[Name], Field(min_length=1)]
    """The queries: sources whose documents are examples of what to find."""
    nearest: Annotated[int, Field(gt=0, le=1000)] = 3
    """The number of documents that each query takes."""
    embedder: str = "tfidf"
    """tfidf (hashed, needs no model), or a sentence-transformers folder."""


class Source(Config):
    """Text: a folder of files, a part of the Python installation or environment; or tokens that are there already.

    A source with none of them can be planned with, from its `tokens`, and not run.
    """

    python: PythonPart | None = None
    environment: str | None = None
    """A part of the text that the installed packages carry: what `--scale cpu` binds a paper's sources to."""
    folder: str | None = None
    """A folder, or a URL such as s3://bucket/folder: JSON lines, CSV, Parquet, Arrow, and text files of one document
    each (docs/data.md lists all endings)."""
    text_field: Annotated[str, Field(min_length=1)] = "text"
    """The field or column that holds a document's text."""
    metadata_fields: tuple[str, ...] = ()
    """Fields that are kept beside each document's tokens, as its language or quality."""
    on_error: Literal["refuse", "skip"] = "refuse"
    """What happens to a document that cannot be read: the run ends, or it is left out, counted and listed."""
    control_tokens: Literal["text", "token"] = "text"
    """What a control token of the tokenizer, such as `<|endoftext|>`, becomes where a document's text holds its
    characters: text like any other, or the control token itself. Data cards count them."""
    token_file: str | None = None
    """Tokens in Megatron's format, which are not copied: the path without `.bin` and `.idx`. They must be of the
    recipe's tokenizer."""
    heldout: str | None = None
    """A folder of text that is held out, required with `token_file`, whose text is not available."""
    filters: tuple[Filter, ...] = ()
    """Rules for web text: documents that break one are left out, and counted by rule (needs `pip install
    switchpoint[data]`)."""
    deduplicate: Literal["exact", "minhash"] | None = None
    """Documents that repeat another one of the source are left out, and counted: equal ones, or near ones by MinHash
    (needs `pip install switchpoint[data]`). Not given: copies stay."""
    decontaminate: bool | None = None
    """Whether documents that share 13 words in a row with one of the recipe's `evaluation_sets` are left out, and
    counted. Not given: for sources of the category `qa`, mined and generated ones."""
    reference: str | None = None
    """A folder of text of the desired quality: documents are scored by their perplexity under a small n-gram model of
    it (arXiv 2406.14833), and tiers with `best:` hold those of the lowest."""
    mine: Mine | None = None
    """The source is mined from others (needs `pip install switchpoint[data]`); it has nothing held out."""
    generate: GenerateConfig | None = None
    """The source is text that a base of the study generates, after that base is made; it has nothing held out."""
    tokens: Tokens | None = None
    """Training tokens, as far as they are known before the text is tokenised: blends by tokens or epochs, and moving
    what exceeds `max_epochs`, are worked out from this number; epochs are counted by what was tokenised, once it is."""
    category: str = ""
    """A group of sources: blends can name it."""
    language: str = ""
    tiers: dict[Name, Tier] = Field(default_factory=dict)
    max_epochs: Epochs | None = None
    """The most often that the whole run may repeat the source, in epochs. Not given: no cap."""
    excess: Literal["refuse", "move"] | None = None
    """What happens to draws beyond `max_epochs`: the recipe is refused, or they go to the phase's other sources in
    proportion to their weights. Required with `max_epochs`."""

    @model_validator(mode="after")
    def _one_place(self) -> "Source":
        if (
            at_most_one_of(self, "python", "environment", "folder", "token_file", "mine", "generate") is None
            and self.tokens is None
        ):
            raise ValueError(
                "give `folder:` (a path), `token_file:` or `python:` (topics, docstrings, code, qa); or, for a plan "
                "only, `tokens:`"
            )
        if (self.token_file is None) != (self.heldout is None):
            raise ValueError("`token_file:` and `heldout:` (a folder of text of the same kind) go together")
        if self.folder is None and (self.deduplicate is not None or self.filters):
            raise ValueError("only the documents of a `folder:` are filtered and deduplicated")
        if self.folder is None and (self.text_field != "text" or self.metadata_fields or self.on_error != "refuse"):
            raise ValueError("`text_field:`, `metadata_fields:` and `on_error:` say how a `folder:` is read")
        if (self.python or self.environment) and self.control_tokens != "text":
            raise ValueError("`control_tokens:` is of text from files: what Python carries has none")
        if (self.max_epochs is None) != (self.excess is None):
            raise ValueError("`max_epochs:` and `excess:` (refuse or move) go together")
        if self.generate is not None and self.tokens is not None:
            raise ValueError("the size of a generated source is `generate.tokens:`: it has no `tokens:` beside it")
        if self.excess == "move" and self.size is None:
            raise ValueError("to move what exceeds max_epochs, the source's size must be known: give `tokens:`")
        if "all" in self.tiers:
            raise ValueError("a tier cannot be called `all`: that is the whole source")
        if (self.reference is None) != all(tier.best is None for tier in self.tiers.values()):
            raise ValueError("`reference:` and tiers with `best:` go together")
        if self.decontaminate and self.token_file:
            raise ValueError("tokens that are there already cannot be decontaminated: only their text can")
        if self.reference is not None and self.folder is None:
            raise ValueError("only the documents of a `folder:` are scored")
        if self.tiers and (self.python or self.token_file or self.generate):
            raise ValueError("tiers select documents by name: only `folder:` has such names")
        return self

    @property
    def is_decontaminated(self) -> bool:
        if self.token_file:
            return False
        by_default = self.category == "qa" or self.mine is not None or self.generate is not None
        return by_default if self.decontaminate is None else self.decontaminate

    @property
    def size(self) -> int | None:
        """Its training tokens as far as they are known before its text is tokenised."""
        return self.generate.tokens if self.generate is not None else self.tokens

    @property
    def encoding(self) -> dict[str, str]:
        """What decides how its text becomes tokens, beside the tokenizer."""
        return {"control_tokens": self.control_tokens} if self.control_tokens != "text" else {}

    @property
    def has_text(self) -> bool:
        """Whether there is something to train on before anything is trained: text, or tokens."""
        return bool(self.python or self.environment or self.folder or self.token_file or self.mine)


def origin_of(source: Source) -> str:
    """Return the text that a source is split with into train and held-out: all parts of Python are split as one."""
    if source.python:
        return PYTHON_ORIGIN
    if source.mine:
        one = source.mine
        return f"{MINED} {' '.join(one.sources)} like {' '.join(one.like)} {one.nearest} {one.embedder}"
    if source.generate:
        how = source.generate
        return f"{GENERATED} {how.from_} {how.tokens} {how.temperature} {how.seed}"
    return ENVIRONMENT_ORIGIN if source.environment else str(source.folder or source.token_file)


def is_made(origin: str) -> bool:
    """Return whether a step writes the origin's documents into the store; others are read from the user's files."""
    return origin in GENERATED_ORIGINS or origin.startswith((f"{MINED} ", f"{GENERATED} "))


def reference_origin(source: Source) -> str:
    """Return the key of the reference corpus among the inputs."""
    return f"reference {source.reference}"


def part_of(source: Source) -> str:
    """Return which documents of its origin are the source's."""
    return source.python or source.environment or "text"


SourceKey = Annotated[str, "a source's name, with @TIER where a tier of it is drawn"]


def source_key(source: str, tier: str | None) -> SourceKey:
    """Return the name of what is drawn: a source, or one of its tiers."""
    return f"{source}@{tier}" if tier else source


def split_key(key: SourceKey) -> tuple[str, str]:
    """Return (source, tier); the tier is empty if the whole source is drawn."""
    source, _, tier = key.partition("@")
    return source, tier
