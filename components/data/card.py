"""The data card of a source: what it holds, as JSON and as a page. Written when its shards are joined."""

import hashlib
import html
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from switchpoint.components.data.remote_tokens import open_tokens, read_any_index

NUM_EXCERPTS = 10
EXCERPT_TOKENS = 96
MAX_HASHES = 50_000_000
"""The largest number of documents among which copies are counted: 8 bytes each."""

Lengths = npt.NDArray[np.integer]


def write_card(
    folder: Path, name: str, record: Mapping[str, Any], language: str, tables: Iterable[Path],
    token_files: list[str], tokenizer: Tokenizer,
) -> None:  # fmt: skip
    """Write `card.json` and `card.html`.

    `record`: the source's outputs; `tables`: its shards' documents; `token_files`: their prefixes, for lengths where
    there is no table, and for the excerpts.
    """
    lengths, languages, copies = _documents(tables, language)
    if not lengths.sum():
        for prefix in token_files:
            lengths += _histogram(read_any_index(prefix)[1])
    card = {
        "source": name,
        "documents": int(lengths.sum()),
        "tokens": record["tokens"]["all"],
        "bytes": record["bytes"],
        "bytes_per_token": record["bytes"] / record["tokens"]["all"] if record["bytes"] else None,
        "heldout": {"documents": record["heldout_documents"], "bytes": record["heldout_bytes"]},
        "tiers": {tier: tokens for tier, tokens in record["tokens"].items() if tier != "all"},
        "languages": languages,
        "documents_by_tokens": {
            f"{1 << power:,} to {(2 << power) - 1:,}": int(count) for power, count in enumerate(lengths) if count
        },
        "copies": copies,
        "control_tokens": record["control_tokens"],
        "dropped": record["dropped"],
        "skipped": record["skipped"],
        "excerpts": _excerpts(name, token_files, tokenizer),
    }
    (folder / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False), encoding="utf-8")
    (folder / "card.html").write_text(page(card), encoding="utf-8")


def _histogram(lengths: Lengths) -> npt.NDArray[np.int64]:
    """Return the number of documents by the power of two that their number of tokens begins with. Shape (40,)."""
    powers = np.log2(np.maximum(1, lengths)).astype(np.int64)
    return np.bincount(powers, minlength=40)[:40]


def _documents(tables: Iterable[Path], language: str) -> tuple[npt.NDArray[np.int64], dict[str, int], int | None]:
    """Return the histogram of lengths, documents by language, and how many repeat an earlier one (None: not known)."""
    lengths = np.zeros(40, dtype=np.int64)
    languages: Counter[str] = Counter()
    hashes = [np.empty(0, dtype=np.uint64)]
    for path in tables:
        table = pq.ParquetFile(path)
        columns = ["tokens", "hash", *(["metadata.language"] if "metadata.language" in table.schema.names else [])]
        for batch in table.iter_batches(columns=columns):
            lengths += _histogram(batch.column("tokens").to_numpy())
            if sum(map(len, hashes)) < MAX_HASHES:
                hashes.append(batch.column("hash").to_numpy())
            if len(columns) > 2:
                languages.update(one or "unknown" for one in batch.column("metadata.language").to_pylist())
    if not languages and language:
        languages[language] = int(lengths.sum())
    known = np.concatenate(hashes)
    return lengths, dict(languages.most_common()), len(known) - len(np.unique(known)) if len(known) else None


def _excerpts(name: str, token_files: list[str], tokenizer: Tokenizer) -> list[str]:
    """Return the beginnings of at most NUM_EXCERPTS documents, the same every time."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    random = np.random.default_rng(seed)
    found: dict[tuple[str, int], str] = {}
    for _ in range(3 * NUM_EXCERPTS if token_files else 0):
        prefix = token_files[int(random.integers(len(token_files)))]
        lengths = read_any_index(prefix)[1]
        document = int(random.integers(len(lengths)))
        if (prefix, document) not in found:
            start = int(lengths[:document].sum(dtype=np.int64))
            stop = start + min(EXCERPT_TOKENS, int(lengths[document]))
            found[prefix, document] = tokenizer.decode(open_tokens(prefix)[start:stop].tolist())
        if len(found) == NUM_EXCERPTS:
            break
    return list(found.values())


def page(card: Mapping[str, Any]) -> str:
    """Return the card as one HTML file that needs no other."""
    most = max(card["documents_by_tokens"].values(), default=1)
    bars = "".join(
        f'<tr><td>{label}</td><td>{count:,}</td><td class="bar"><i style="width:{count / most:.1%}"></i></td></tr>'
        for label, count in card["documents_by_tokens"].items()
    )
    excerpts = "".join(f"<pre>{html.escape(text)}</pre>" for text in card["excerpts"])
    return _page(
        card["source"], "data card",
        f"{_table(_facts(card))}<h2>Documents by their length in tokens</h2><table>{bars}</table>"
        f"<h2>Left out, and copies</h2>{_table(_left_out(card))}<h2>Some documents, from their beginning</h2>"
        '<p class="note">Chosen at random, the same every time; decoded from the tokens that are trained on.</p>'
        f"{excerpts}",
    )  # fmt: skip


def _page(name: str, kind: str, body: str) -> str:
    template = Template((Path(__file__).parent / "card.html").read_text(encoding="utf-8"))
    return template.substitute(name=html.escape(name), kind=kind, body=body)


def _facts(card: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "training documents", f"{card['documents']:,}"
    yield "training tokens", f"{card['tokens']:,}"
    if card["bytes_per_token"]:
        yield "bytes per token", f"{card['bytes_per_token']:.2f}"
    yield "held out", f"{card['heldout']['documents']:,} documents, {card['heldout']['bytes']:,} bytes"
    for tier, tokens in card["tiers"].items():
        yield f"tier {tier}", f"{tokens:,} tokens, {tokens / card['tokens']:.1%}"
    control = card["control_tokens"]
    if control["number"]:
        yield (
            f"control tokens in the text, encoded as {'text' if control['become'] == 'text' else 'such'}",
            f"{control['number']:,} in {control['documents']:,} documents",
        )
    for language, count in list(card["languages"].items())[:12]:
        yield f"language {language}", f"{count:,} documents"


def _left_out(card: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for reason, count in (*card["dropped"].items(), *card["skipped"].items()):
        yield reason, f"{count:,} documents left out"
    if card["copies"] is not None:
        yield "copies of an earlier document", f"{card['copies']:,} (kept)"


def _table(rows: Iterable[tuple[str, str]]) -> str:
    lines = "".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>" for name, value in rows)
    return f"<table>{lines}</table>"


def write_blend_card(folder: Path, name: str, weights: Mapping[str, Any], cards: Mapping[str, Path]) -> None:
    """Write `card.json` and `card.html` of a blend. `cards`: the card of the source, by what is drawn."""
    rows: list[dict[str, Any]] = []
    for key, weight in weights.items():
        source = json.loads(cards[key].read_text(encoding="utf-8"))
        tier = key.partition("@")[2]
        tokens = source["tiers"][tier] if tier else source["tokens"]
        rows.append({"source": key, "weight": str(weight), "share": float(weight), "tokens": tokens,
                     "bytes_per_token": source["bytes_per_token"]})  # fmt: skip
    (folder / "card.json").write_text(json.dumps({"blend": name, "sources": rows}, indent=1), encoding="utf-8")
    most = max(row["share"] for row in rows)
    lines = "".join(
        f"<tr><td>{html.escape(row['source'])}</td><td>{row['share']:.2%}</td>"
        f'<td class="bar"><i style="width:{row["share"] / most:.1%}"></i></td><td>{row["tokens"]:,} tokens</td></tr>'
        for row in sorted(rows, key=lambda row: -row["share"])
    )
    note = '<p class="note">What the blend draws from: weights, and the training tokens that there are.</p>'
    page = _page(name, "blend", f"{note}<table>{lines}</table>")
    (folder / "card.html").write_text(page, encoding="utf-8")
