"""JSON lines to finished token files, beside the tokenizer alone and datatrove's pipeline, on the same file and cores.

`python -m tests.bench.bench_tokenise [MEGABYTES]` prints JSON. The text is the Python source of the installed packages.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import torch

from switchpoint.components.data.corpus import Corpus, CorpusFile
from switchpoint.components.data.encoder import FastEncoder, ReferenceEncoder, use_threads
from switchpoint.components.data.readers import Piece, TextOptions
from switchpoint.components.data.shards import Shard
from switchpoint.components.data.tokenise import BATCH_BYTES, ShardWork, write_shard
from switchpoint.components.data.tokenizer import END_OF_DOCUMENT, byte_level_bpe
from switchpoint.components.recipe.kind import identity_of
from switchpoint.components.store.store import Store

VOCAB_SIZE = 32_000
MEGABYTES = 31.5
NUM_THREADS = 2


def write_source(path: Path, megabytes: float) -> list[str]:
    texts, size = [], 0
    with path.open("wb") as file:
        for source in sorted(Path(torch.__file__).parents[1].rglob("*.py")):
            text = source.read_text(encoding="utf-8", errors="ignore")
            if text.strip():
                file.write(orjson.dumps({"text": text}) + b"\n")
                texts.append(text)
                size += len(text.encode())
            if size >= megabytes * 1e6:
                break
    return texts


def write_tokenizer(folder: Path, texts: list[str]) -> None:
    folder.mkdir()
    byte_level_bpe(iter(texts[::8]), VOCAB_SIZE).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": END_OF_DOCUMENT}))


def seconds(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def ours(folder: Path, source: Path, encoder: FastEncoder | ReferenceEncoder) -> float:
    """The whole way of one shard, as the step does it: reading, hold-out, ids, token file, table, record."""
    file = CorpusFile(
        name=source.name, num_bytes=source.stat().st_size, digest="",
        version=(source.stat().st_size, source.stat().st_mtime_ns),
    )  # fmt: skip
    store = Store(folder / f"store-{encoder.name}")
    shutil.rmtree(store.root, ignore_errors=True)
    work = ShardWork(
        shard=Shard(
            source="bench", number=0, identity=identity_of("shard", {"engine": encoder.name}), num_bytes=file.num_bytes,
            pieces=(Piece(name=file.name, digest=""),),
        ),
        store=store, tokenizer=folder / "tokenizer", text_file=None, options=TextOptions(), tiers={}, skip=False,
        control_tokens="text", sequence_lengths=(), scorer=None, evaluation_sets=None, duplicates=None, filters=(),
        corpus=Corpus(folder=str(source.parent), files=(file,), heldout_below=0),
    )  # fmt: skip
    return seconds(lambda: write_shard(work, encoder))


def raw(texts: list[str], encoder: FastEncoder | ReferenceEncoder) -> float:
    """The tokenizer's own speed: texts in memory, in batches of the same size, nothing done with the ids."""
    batches: list[list[str]] = [[]]
    size = 0
    for text in texts:
        batches[-1].append(text)
        size += len(text)
        if size >= BATCH_BYTES:
            batches.append([])
            size = 0
    if isinstance(encoder, FastEncoder):
        return seconds(lambda: [encoder.fast.encode_batch_flat(batch) for batch in batches if batch])
    tokenizer = encoder.tokenizer
    return seconds(lambda: [tokenizer.encode_batch_fast(batch, add_special_tokens=False) for batch in batches if batch])


def datatrove(folder: Path, source: Path) -> float:
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens.tokenizer import DocumentTokenizer
    from loguru import logger

    logger.remove()
    output = folder / "datatrove"
    shutil.rmtree(output, ignore_errors=True)
    pipeline = [
        JsonlReader(str(source.parent), glob_pattern=source.name),
        DocumentTokenizer(
            str(output / "tokens"), str(folder / "tokenizer" / "tokenizer.json"), eos_token=END_OF_DOCUMENT,
            shuffle_documents=False,
        ),
    ]  # fmt: skip
    return seconds(lambda: LocalPipelineExecutor(pipeline, logging_dir=str(output / "logs"), tasks=1).run())


def main() -> None:
    megabytes = float(sys.argv[1]) if len(sys.argv) > 1 else MEGABYTES
    use_threads(NUM_THREADS)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source = folder / "source.jsonl"
        texts = write_source(source, megabytes)
        size = sum(len(text.encode()) for text in texts) / 1e6
        write_tokenizer(folder / "tokenizer", texts)
        fast, reference = FastEncoder(folder / "tokenizer"), ReferenceEncoder(folder / "tokenizer")
        # In turns, so that a busy moment of the machine does not fall on one of them alone.
        taken = {
            "datatrove": datatrove(folder, source),
            "raw tokenizers": raw(texts, reference),
            "ours with tokenizers": ours(folder, source, reference),
            "raw fastokens": raw(texts, fast),
            "ours with fastokens": ours(folder, source, fast),
        }
        taken["datatrove"] = min(taken["datatrove"], datatrove(folder, source))
        taken["raw tokenizers"] = min(taken["raw tokenizers"], raw(texts, reference))
        taken["ours with tokenizers"] = min(taken["ours with tokenizers"], ours(folder, source, reference))
        for _ in range(3):
            taken["raw fastokens"] = min(taken["raw fastokens"], raw(texts, fast))
            taken["ours with fastokens"] = min(taken["ours with fastokens"], ours(folder, source, fast))
    speed = {name: size / one for name, one in taken.items()}
    print(
        json.dumps(
            {
                "what": "JSON lines to finished .bin/.idx", "megabytes": size, "documents": len(texts),
                "threads": NUM_THREADS, "megabytes_per_second": speed,
                "times_datatrove": speed["ours with fastokens"] / speed["datatrove"], "wanted_times_datatrove": 10,
                "share_of_raw_tokenizers": speed["ours with tokenizers"] / speed["raw tokenizers"],
                "wanted_share_of_raw_tokenizers": 0.9,
                "share_of_raw_fastokens": speed["ours with fastokens"] / speed["raw fastokens"],
            },
            indent=1,
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
