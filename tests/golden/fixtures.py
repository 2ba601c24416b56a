"""Make the models, the corpus and the finished OUT in this folder: `python -m golden.fixtures` in tests/.

They are committed, since what training a tokenizer or drawing weights gives is not promised across versions. The OUT
is one that an earlier version of the package made: never make it again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from kit.tiny import CORPUS, byte_bpe, save_model, wordpiece

HERE = Path(__file__).parent
SIZES = {
    "vocab_size": 2000,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "initializer_range": 0.2,
    "max_position_embeddings": 300,
}


def main() -> None:
    """Write everything."""
    from transformers import BertConfig, BertModel, Qwen3Config, Qwen3Model

    texts = pq.read_table(CORPUS / "cranfield-0.parquet")["text"].to_pylist()
    torch.manual_seed(0)
    bert = BertModel(BertConfig(**SIZES)).eval()
    save_model(HERE / "bert", bert, wordpiece(texts), max_length=300, prompts={"document": "", "query": "ask: "})
    qwen = Qwen3Model(Qwen3Config(**SIZES, num_key_value_heads=1, head_dim=16)).eval()
    save_model(HERE / "qwen3", qwen, byte_bpe(texts), pooling="lasttoken", max_length=300)
    corpus(texts)


def corpus(texts: list[str]) -> None:
    """Write JSON lines (with rows that are rejected) and Parquet files below a folder of keys."""
    folder = HERE / "corpus"
    (folder / "parquet" / "lang=de").mkdir(parents=True, exist_ok=True)
    (folder / "lines").mkdir(exist_ok=True)
    for name, part in (("a", texts[:24]), ("b", texts[24:40])):
        rows = [{"id": f"{name}{i}", "title": text[:20], "text": text, "year": 1950 + i} for i, text in enumerate(part)]
        lines = [*map(json.dumps, rows), '{"id": "empty", "text": " "}', "{bad"]
        (folder / "lines" / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    for name, part in (("c", texts[40:60]), ("d", [" ".join(texts[60:68]), *texts[68:80]])):
        table = pa.table(
            {
                "id": pa.array(range(len(part)), pa.int64()),
                "text": part,
                "score": pa.array([i / 7 for i in range(len(part))], pa.float32()),
            }
        )
        pq.write_table(table, folder / "parquet" / "lang=de" / f"{name}.parquet", row_group_size=10)


if __name__ == "__main__":
    sys.exit(main())
