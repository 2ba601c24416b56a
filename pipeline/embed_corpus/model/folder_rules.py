"""Every file of a model folder, and every key of its JSON files: obeyed, harmless or refused, and why.

Data, not code: `folder_check` applies it, and docs/model-folders.md is written from it. What is meant by "obeyed"
is what sentence-transformers 6.2 and transformers 5 do with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import permutations
from typing import Any

__all__ = ["FILES", "ROUTER_KEYS", "FileRule", "Key", "Verdict"]


class Verdict(Enum):
    """What is done with a file or key."""

    OBEYED = "obeyed"
    HARMLESS = "harmless"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a JSON file.

    Attributes:
        name: within the file; a dot leads into the object under a key, and "*" is every other key there.
        verdict: what is done with it.
        why: the reason; for a refused one, with what to do.
        passes: values of a refused key that change nothing, and pass; null always does, unless `always`.
        always: null is no harmless value.
    """

    name: str
    verdict: Verdict
    why: str
    passes: tuple[Any, ...] = ()
    always: bool = False


@dataclass(frozen=True, slots=True)
class FileRule:
    """A file, or all that fit a pattern.

    Attributes:
        pattern: of its name in its folder, as a shell's.
        of: whose folder it lies in: "model", or a module's kind; "model2vec" for one of its own, without modules.json;
            "any" for what the others leave.
        verdict, why: as of a `Key`.
        keys: of its JSON object (or of each object of its list), looked at if there are any; others are refused.
    """

    pattern: str
    of: str
    verdict: Verdict
    why: str
    keys: tuple[Key, ...] = ()


_O, _H, _R = Verdict.OBEYED, Verdict.HARMLESS, Verdict.REFUSED

_SAME_LIMIT = "it cuts texts: put the smaller of it and max_seq_length into max_seq_length, and take it out"
_INTO_CONFIG = "it changes the model: write what it says into config.json, and take it out"
_INTO_TOKENIZER = "it changes the tokenizer: write what it says into tokenizer_config.json, and take it out"
_WHERE = "it says where the hub client finds files, which lie here"
_OTHERS = "only texts are embedded"
_PROCESSOR = "a processor of its own would stand before the tokenizer: only plain tokenizers are supported"

_MODEL, _PROCESS, _CONFIGURE = (
    ("model_kwargs", "model_args"),
    ("processor_kwargs", "tokenizer_args"),
    ("config_kwargs", "config_args"),
)
"""Names of three objects in newer and older files."""
_SETTINGS = (
    Key("max_seq_length", _O, "longest text, in tokens"),
    Key("do_lower_case", _O, "texts are lower-cased before the tokenizer sees them"),
    Key("transformer_task", _R, "vectors are made of token states alone", ("feature-extraction",)),
    Key("module_output_name", _R, "pooling takes token_embeddings", ("token_embeddings",)),
    Key("modality_config.text.method", _R, "the model's forward is what runs", ("forward",), always=True),
    Key(
        "modality_config.text.method_output_name",
        _R,
        "the last layer's states are pooled",
        ("last_hidden_state", ["last_hidden_state"]),
        always=True,
    ),
    Key("modality_config.text.format", _H, "of chat messages"),
    Key("modality_config.message", _R, "texts would go through a chat template", always=True),
    *(Key(f"modality_config.{kind}", _H, _OTHERS) for kind in ("image", "audio", "video")),
    Key("modality_config.*", _R, "only texts are embedded: take it out", always=True),
    Key("processing_kwargs.text.padding", _H, "no padding is seen by a text", (True, False, "longest")),
    Key("processing_kwargs.text.truncation", _R, "a text over the limit is cut or split", (True, "longest_first")),
    Key("processing_kwargs.text.max_length", _R, _SAME_LIMIT),
    Key("processing_kwargs.text.add_special_tokens", _R, "every text gets its special tokens", (True,)),
    Key("processing_kwargs.text.*", _R, "it changes the tokens: take it out"),
    Key("processing_kwargs.common.*", _R, "it changes the tokens: take it out"),
    *(Key(f"processing_kwargs.{kind}", _H, _OTHERS) for kind in ("image", "audio", "video")),
    Key("processing_kwargs.chat_template", _H, "no chat template is used"),
    Key("processing_kwargs.*", _R, "nothing is known of it: take it out"),
    Key("query_length", _R, _SAME_LIMIT),
    Key("document_length", _R, _SAME_LIMIT),
    Key("query_expansion", _R, "queries get no tokens beyond their own: such models score token by token"),
    Key("unpad_inputs", _H, "texts lie end to end anyway; vectors are the same"),
    Key("tokenizer_name_or_path", _R, "the tokenizer is the one in the folder: copy that one here, and take it out"),
    *(
        Key(f"{kind}.{name}", _H, why)
        for name, why in (
            ("trust_remote_code", "sentence-transformers ignores it here, too; --trust-remote-code decides"),
            *((name, _WHERE) for name in ("cache_dir", "token", "revision", "local_files_only", "subfolder")),
        )
        for kind in (*_MODEL, *_PROCESS, *_CONFIGURE)
    ),
    *(
        Key(f"{kind}.{name}", _H, why)
        for name, why in (
            ("dtype", "--precision decides"),
            ("torch_dtype", "--precision decides"),
            ("attn_implementation", "every implementation gives the same vectors"),
            ("add_pooling_layer", "a pooler is not among the token states"),
            ("use_safetensors", "weights are read from safetensors alone"),
            ("low_cpu_mem_usage", "it is about how weights are loaded, not which"),
        )
        for kind in _MODEL
    ),
    *(Key(f"{kind}.*", _R, _INTO_CONFIG) for kind in (*_MODEL, *_CONFIGURE)),
    *(Key(f"{kind}.use_cache", _H, "no cache is used") for kind in _CONFIGURE),
    *(
        Key(f"{kind}.{name}", verdict, why)
        for name, verdict, why in (
            ("model_max_length", _O, "longest text, in tokens"),
            ("use_fast", _H, "tokenizers are fast ones"),
            ("padding_side", _H, "no padding is seen by a text"),
            ("truncation_side", _O, "`left` is refused with --long truncate, else nothing is cut"),
            ("do_lower_case", _O, "as in tokenizer_config.json, which it overrides"),
            ("strip_accents", _O, "as in tokenizer_config.json, which it overrides"),
            ("tokenize_chinese_chars", _O, "as in tokenizer_config.json, which it overrides"),
            ("*", _R, _INTO_TOKENIZER),
        )
        for kind in _PROCESS
    ),
)

_COMPARED = "tokens are compared with those of transformers' own class before a run; if they differ, it is refused"
_INPUTS = tuple(
    list(names)
    for names in (
        *permutations(("input_ids", "attention_mask")),
        *permutations(("input_ids", "attention_mask", "token_type_ids")),
    )
)
_TOKENIZER = (
    Key("processor_class", _R, _PROCESSOR),
    Key(
        "auto_map", _H, "the tokenizer's own code is never run; with --trust-remote-code it would be asked for: refused"
    ),
    Key("added_tokens_decoder", _O, "tokens that are whole wherever they stand in a text"),
    Key("additional_special_tokens", _O, "the same"),
    Key("extra_special_tokens", _O, "the same"),
    Key("model_max_length", _O, "longest text, in tokens, where sentence_bert_config.json names none"),
    Key("truncation_side", _O, "`left` is refused with --long truncate, else nothing is cut"),
    Key("padding_side", _H, "no padding is seen by a text, and the last token is that of the text"),
    Key("chat_template", _H, "no chat template is used"),
    Key("split_special_tokens", _O, "special tokens in a text are cut like any word"),
    Key("model_input_names", _R, "a model needs input_ids and attention_mask", _INPUTS, always=True),
    Key("*", _O, _COMPARED),
)

_CONFIG = (
    Key("auto_map", _O, "code of its own, with --trust-remote-code; refused without, if the model needs it"),
    Key("quantization_config", _R, "quantised weights are not supported: save the model with plain ones"),
    Key("processor_class", _R, _PROCESSOR),
    Key("max_position_embeddings", _O, "longest text, in tokens"),
    Key("is_causal", _O, "whether a token sees those behind it; true is refused where the layers do not go by it"),
    Key("matryoshka_dimensions", _O, "dimensions that --dim takes"),
    Key("dtype", _H, "--precision decides"),
    Key("torch_dtype", _H, "--precision decides"),
    Key("*", _O, "transformers reads it; what runs is compared with transformers' own model before the first batch"),
)

_OTHER_PROCESSOR = (Key("processor_class", _R, _PROCESSOR), Key("*", _H, _OTHERS))

_FOR_ALL = (
    Key("__version__", _H, "who saved it"),
    Key("prompts", _O, "put before documents and queries"),
    Key("default_prompt_name", _H, "for texts that are neither document nor query"),
    Key("similarity_fn_name", _O, "how vectors are compared"),
    Key("truncate_dim", _O, "vectors are cut to it, unless --dim says otherwise"),
    *(Key(name, _O, "dimensions that --dim takes") for name in ("matryoshka_dimensions", "matryoshka_dims")),
    Key("is_matryoshka", _O, "dimensions that --dim takes"),
    Key("requirements", _H, "packages that sentence-transformers should have"),
    Key("model_type", _R, "only models that give one vector a text", ("SentenceTransformer",)),
)

_MODULES = (
    Key("idx", _H, "modules stand in order"),
    Key("name", _O, "must be another for each module"),
    Key("path", _O, "where the module's files lie"),
    Key("type", _O, "its class, of sentence-transformers' own"),
    Key("kwargs", _R, "options of a call would reach the module", ([], {})),
)

_POOLING = (
    Key("embedding_dimension", _O, "numbers of a token's state"),
    Key("word_embedding_dimension", _O, "the same, in older files"),
    Key("pooling_mode", _O, "how token states become a vector"),
    *(
        Key(f"pooling_mode_{mode}", _O, "the same, in older files")
        for mode in (
            *("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"),
        )
    ),
    Key("include_prompt", _O, "whether the prompt's tokens are pooled, too"),
)

_THE_VECTOR = ("sentence_embedding",)
_DENSE = (
    *(Key(name, _O, "the layer's size") for name in ("in_features", "out_features", "bias")),
    Key("activation_function", _O, "one of those of torch.nn that are supported"),
    Key("module_input_name", _R, "its input is the vector", _THE_VECTOR),
    Key("module_output_name", _R, "its output is the vector", _THE_VECTOR),
    Key("use_residual", _R, "a residual is not supported", (False,)),
)
_NORMALIZE = (
    Key("module_input_name", _R, "the vector is scaled", _THE_VECTOR),
    Key("module_output_name", _R, "the vector is scaled", _THE_VECTOR),
)

ROUTER_KEYS = (
    Key("types", _O, "every module's class, of sentence-transformers' own"),
    Key("structure", _O, "the modules of each route"),
    Key("parameters.route_mappings", _O, "which route a task's texts take"),
    Key("parameters.default_route", _H, "for texts that are neither document nor query"),
    Key("parameters.allow_empty_key", _H, "the same"),
)
"""Of a Router's own file."""
_MODEL2VEC = (
    Key("model_type", _O, "tells such a folder"),
    Key("normalize", _O, "vectors are scaled to unit length"),
    Key("max_length", _O, "longest text, in tokens; 512 if it is not there"),
    Key("*", _H, "tells how the table was made; model2vec reads no other key of a model that is made"),
)

_WITH_TOKENIZER = "transformers reads it only where there is no tokenizer.json, which is needed here"
FILES = (
    FileRule("modules.json", "model", _O, "the modules, in order", _MODULES),
    FileRule("config_sentence_transformers.json", "model", _O, "what holds for all modules", _FOR_ALL),
    FileRule("config.json", "Transformer", _O, "the architecture", _CONFIG),
    FileRule("sentence_*_config.json", "Transformer", _O, "how texts go into the model", _SETTINGS),
    FileRule("tokenizer_config.json", "Transformer", _O, "the tokenizer's class and options", _TOKENIZER),
    FileRule("tokenizer.json", "Transformer", _O, "the tokenizer; its padding is not used"),
    FileRule("special_tokens_map.json", "Transformer", _O, "added tokens, where added_tokens_decoder is missing"),
    FileRule("added_tokens.json", "Transformer", _O, "added tokens, where added_tokens_decoder is missing"),
    FileRule("*.safetensors", "Transformer", _O, "the weights"),
    FileRule("model.safetensors.index.json", "Transformer", _O, "which file holds which weights"),
    FileRule("*processor_config.json", "Transformer", _H, _OTHERS, _OTHER_PROCESSOR),
    FileRule("generation_config.json", "Transformer", _H, "nothing is generated"),
    FileRule("*.py", "Transformer", _O, "code of its own, with --trust-remote-code"),
    *(
        FileRule(name, "Transformer", _H, _WITH_TOKENIZER)
        for name in ("vocab.txt", "vocab.json", "merges.txt", "*.model", "*.tiktoken", "unigram.json", "tekken.json")
    ),
    FileRule("chat_template*", "Transformer", _H, "no chat template is used"),
    *(
        FileRule(name, "Transformer", _H, "weights of another kind, never read; a pickle least of all")
        for name in ("*.bin", "*.pt", "*.pth", "*.h5", "*.msgpack", "*.ot", "*.onnx", "*.gguf", "onnx", "openvino")
    ),
    FileRule("adapter_config.json", "Transformer", _O, "a LoRA adapter; its keys are listed below"),
    FileRule("router_config.json", "Router", _O, "which modules documents go through, and which queries", ROUTER_KEYS),
    FileRule("config.json", "Router", _O, "the same, in older folders: of the same keys"),
    FileRule("config.json", "Pooling", _O, "how token states become a vector", _POOLING),
    FileRule("config.json", "Dense", _O, "the layer", _DENSE),
    FileRule("model.safetensors", "Dense", _O, "the layer's weights"),
    FileRule("model.safetensors", "StaticEmbedding", _O, "the table of vectors"),
    FileRule("tokenizer.json", "StaticEmbedding", _O, "the tokenizer, without special tokens"),
    FileRule("router_config.json", "Router", _O, "which modules documents and queries go through", ROUTER_KEYS),
    FileRule("config.json", "Router", _O, "the same, in older files", ROUTER_KEYS),
    FileRule("config.json", "model2vec", _O, "how the mean of the table's rows becomes a vector", _MODEL2VEC),
    FileRule("model.safetensors", "model2vec", _O, "the table of vectors"),
    FileRule("tokenizer.json", "model2vec", _O, "the tokenizer, without special tokens"),
    FileRule("config.json", "Dropout", _H, "it does nothing but in training"),
    FileRule("config.json", "Normalize", _O, "what is scaled to unit length", _NORMALIZE),
    FileRule("*", "any", _H, "neither sentence-transformers nor transformers reads it"),
)
"""The first rule that fits a file counts."""
