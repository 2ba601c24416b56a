"""Imported by the server that forks: everything that a run, a worker or a search imports."""

import gc
import importlib
import os
import pkgutil

os.environ |= {
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_WAIT_POLICY": "PASSIVE",
}  # as a worker does before it imports torch
import faiss  # noqa: F401
import pyarrow.compute
import pyarrow.dataset
import pyarrow.parquet  # noqa: F401
import torch  # noqa: F401
import transformers  # noqa: F401
from transformers import BertConfig, BertModel, Qwen3Config, Qwen3Model  # noqa: F401

import embed_corpus
from kit import forked

for module in pkgutil.walk_packages(embed_corpus.__path__, "embed_corpus."):
    if "kernels" not in module.name and "__main__" not in module.name:
        importlib.import_module(module.name)
forked.serve()
gc.freeze()  # collecting in a child would copy the pages
