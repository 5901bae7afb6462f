"""The outputs that hold data: text, tokenizer, tokens, and what is left out of them. Resolved from a recipe (pure)."""

from collections.abc import Mapping
from typing import Any

from switchpoint.components.recipe.deciding import deciding
from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.evaluation import evaluation_origin
from switchpoint.components.recipe.kind import identity_of
from switchpoint.components.recipe.recipe import Recipe, tokenizer_origin
from switchpoint.components.recipe.source import Mine, Source, is_made, origin_of, part_of, reference_origin, source_key
from switchpoint.components.recipe.stage import Generate, Output


class DataOutputs:
    """A recipe's data: what each output is made of."""

    def __init__(self, recipe: Recipe, input_digests: Mapping[str, str]) -> None:
        self.recipe, self.digests = recipe, input_digests
        self.with_text = recipe.sources_with_text()
        self.texts: dict[str, Identity] = {}
        for source in self.with_text.values():  # mined ones last
            self.texts[origin_of(source)] = self._text(source)
        # A mined source adds no text: neither the tokenizer nor the evaluation depends on it.
        own = {name: source for name, source in self.with_text.items() if not source.mine}
        self.from_sources = {f"source {name}": self.texts[origin_of(source)] for name, source in own.items()}
        self.parts = {name: part_of(source) for name, source in own.items()}
        self.categories = {name: source.category for name, source in own.items() if source.category}
        self.tokenizer = self._tokenizer()
        self.contamination = self._contamination()
        self.duplicates = {
            name: identity_of("duplicates", {"kind": source.deduplicate}, {"text": self.texts[origin_of(source)]})
            for name, source in self.with_text.items()
            if source.deduplicate
        }
        self.scorers = {
            name: identity_of(
                "scorer",
                {
                    "reference": input_digests[reference_origin(source)],
                    "best": {tier: config.best for tier, config in source.tiers.items() if config.best is not None},
                }
                | source.encoding,
                {"tokenizer": self.tokenizer, "text": self.texts[origin_of(source)]},
            )
            for name, source in self.with_text.items()
            if source.reference
        }  # fmt: skip
        self.generations: dict[str, Output[Generate]] = {}
        """What generates the sources that are generated, by source: those whose base is resolved."""
        self.tokens = {
            source_key(name, tier): tokens
            for name, source in recipe.sources.items()
            if source.generate is None or name in recipe.left_out
            for tokens in [self._tokens(name, source)]
            for tier in (None, *source.tiers)
        }

    def add_generated(self, base: str, model: Identity) -> None:
        """Add the sources that a base generates: what they are made of is known once the base's model is."""
        for name, source in self.recipe.generated_sources().items():
            config = source.generate
            if config is None or config.from_ != base:
                continue
            length = self.recipe.sequence_length
            identity = identity_of(
                "generated", deciding(config, "from_") | {"sequence_length": length},
                {"model": model, "tokenizer": self.tokenizer},
            )  # fmt: skip
            stage = Generate(source=name, base=base, config=config, sequence_length=length, model=model)
            self.generations[name] = Output(identity=identity, stage=stage)
            self.texts[origin_of(source)] = identity
            self.tokens[source_key(name, None)] = self._tokens(name, source)

    def _tokenizer(self) -> Identity:
        config = self.recipe.tokenizer
        if config.folder:
            return identity_of("tokenizer", {"content": self.digests[tokenizer_origin(config.folder)]})
        return identity_of("tokenizer", {"vocab_size": config.vocab_size, "parts": self.parts}, self.from_sources)

    def _text(self, source: Source) -> Identity:
        """Return the documents of a source's origin, and which of them are held out. Those of a folder are a kind of
        their own, since a step makes the others: how files are read does not decide these.
        """
        if source.mine:
            return self._mined(source.mine)
        content, fraction = self.digests[origin_of(source)], self.recipe.heldout_fraction
        if is_made(origin_of(source)):
            return identity_of("text", {"content": content, "heldout_fraction": fraction})
        return identity_of(
            "corpus",
            {
                "content": content, "heldout_fraction": fraction, "text_field": source.text_field,
                "on_error": source.on_error,
            },
        )  # fmt: skip

    def _mined(self, config: Mine) -> Identity:
        def texts(kind: str, names: list[str]) -> dict[str, Identity]:
            with_text = [name for name in names if name in self.with_text]
            return {f"{kind} {name}": self.texts[origin_of(self.with_text[name])] for name in with_text}

        parts = {
            name: part_of(self.with_text[name]) for name in (*config.sources, *config.like) if name in self.with_text
        }
        embedder = self.digests.get(config.embedder, config.embedder)
        fields = {"nearest": config.nearest, "embedder": embedder, "parts": parts, "order": config.sources}
        return identity_of("mined", fields, texts("from", config.sources) | texts("like", config.like))

    def _tokens(self, name: str, source: Source) -> Identity:
        """Return the tokens of a source and of its tiers, which are parts of the same token files."""
        tiers = {tier: config.documents for tier, config in source.tiers.items()}
        if name not in self.with_text and name not in self.generations:
            sizes = {tier: config.tokens for tier, config in source.tiers.items()}
            return identity_of("tokens", {"declared": name, "tiers": sizes, "tokens": source.tokens})
        config = {"part": part_of(source), "tiers": tiers, "metadata_fields": source.metadata_fields}
        config |= {"filters": source.filters} if source.filters else {}
        config |= source.encoding
        inputs = {"text": self.texts[origin_of(source)], "tokenizer": self.tokenizer}
        inputs |= {"scorer": self.scorers[name]} if name in self.scorers else {}
        inputs |= {"duplicates": self.duplicates[name]} if name in self.duplicates else {}
        if self.contamination is not None and source.is_decontaminated:
            inputs["contamination"] = self.contamination
        return identity_of("tokens", config, inputs)

    def _contamination(self) -> Identity | None:
        sets = self.recipe.evaluation_sets
        sources = [*self.with_text.values(), *self.recipe.generated_sources().values()]
        if not sets or not any(source.is_decontaminated for source in sources):
            return None
        return identity_of(
            "contamination", {name: self.digests[evaluation_origin(sets[name])] for name in sorted(sets)}
        )

    def encodings(self) -> dict[str, Any]:
        """Return how the text of sources becomes tokens, of those where it is not as usual."""
        found = {name: source.encoding for name, source in self.with_text.items() if source.encoding}
        return {"encodings": found} if found else {}

    def left_out(self) -> dict[str, Any]:
        """Return what decides, beside the text, which of its documents are held out."""
        found: dict[str, Any] = {}
        for name, source in self.with_text.items():
            rules: dict[str, Any] = {"filters": source.filters, "deduplicate": source.deduplicate}
            if self.contamination is not None and source.is_decontaminated:
                rules["contamination"] = self.contamination.digest
            kept = {rule: value for rule, value in rules.items() if value}
            found |= {name: kept} if kept and not source.mine else {}
        return found
