"""The kinds of tokenizers that embedding models have, each trained on the spot."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from kit import tiny

SIZE = 1500
Tokenizers = Callable[[list[str]], Tokenizer]


@dataclass(frozen=True)
class Kind:
    """A tokenizer: how it is trained, transformers' class for it, and what else its tokenizer_config.json says."""

    train: Tokenizers
    cls: str
    roles: dict[str, object]


def _template(tokenizer: Tokenizer, single: str) -> Tokenizer:
    names = [piece for piece in single.split() if piece != "$A"]
    ids = [(name, tokenizer.token_to_id(name)) for name in dict.fromkeys(names)]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=ids)
    return tokenizer


def cased_wordpiece(texts: list[str]) -> Tokenizer:
    """BERT's tokenizer as multilingual and cased models have it: letters keep their case and accents."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=SIZE, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return _template(tokenizer, "[CLS] $A [SEP]")


def _byte_level(texts: list[str], special: list[str], *, prefix_space: bool = False) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def roberta_bpe(texts: list[str]) -> Tokenizer:
    """GPT-2's byte-level BPE as RoBERTa has it."""
    tokenizer = _byte_level(texts, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer


def prefixed_bpe(texts: list[str]) -> Tokenizer:
    """The same with a space put before every text."""
    return _template(_byte_level(texts, ["<s>", "<pad>", "</s>", "<unk>"], prefix_space=True), "<s> $A </s>")


def neox_bpe(texts: list[str]) -> Tokenizer:
    """ModernBERT's: byte-level BPE under NFC, with BERT's special tokens."""
    tokenizer = _byte_level(texts, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.normalizer = normalizers.NFC()
    return _template(tokenizer, "[CLS] $A [SEP]")


def llama3_bpe(texts: list[str]) -> Tokenizer:
    """Llama 3's: byte-level BPE with numbers in groups of three, a first and a last token."""
    tokenizer = _byte_level(texts, ["<|begin_of_text|>", "<|end_of_text|>"])
    split = tiny.QWEN_SPLIT.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return _template(tokenizer, "<|begin_of_text|> $A <|end_of_text|>")


def _spaced_bpe(texts: list[str], special: list[str]) -> Tokenizer:
    """Train BPE over words that carry their space as ▁, and add a token for each byte."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=SIZE, special_tokens=special, show_progress=False, limit_alphabet=150)
    tokenizer.train_from_iterator(texts, trainer)
    spec = json.loads(tokenizer.to_str())
    vocabulary = spec["model"]["vocab"]
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    spec["model"]["byte_fallback"] = True
    spec["pre_tokenizer"] = None
    return Tokenizer.from_str(json.dumps(spec))


def llama2_bpe(texts: list[str]) -> Tokenizer:
    """Llama 2's and Mistral's: SentencePiece BPE whose normaliser puts ▁ before the text and for each space."""
    tokenizer = _spaced_bpe(texts, ["<unk>", "<s>", "</s>"])
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return _template(tokenizer, "<s> $A </s>")


def gemma_bpe(texts: list[str]) -> Tokenizer:
    """Gemma's: SentencePiece BPE over the whole text at once, spaces as ▁."""
    tokenizer = _spaced_bpe(texts, ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"])
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    return _template(tokenizer, "<bos> $A <eos>")


def _unigram(texts: list[str], special: list[str], *steps: normalizers.Normalizer) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(list(steps))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    trainer = trainers.UnigramTrainer(vocab_size=SIZE, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def xlmr_unigram(texts: list[str]) -> Tokenizer:
    """XLM-R's: Unigram over words, under NFKC."""
    tokenizer = _unigram(texts, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], normalizers.NFKC())
    return _template(tokenizer, "<s> $A </s>")


def t5_unigram(texts: list[str]) -> Tokenizer:
    """T5's: Unigram over words, one special token at the end."""
    return _template(_unigram(texts, ["<pad>", "</s>", "<unk>"], normalizers.NFKC()), "$A </s>")


def albert_unigram(texts: list[str]) -> Tokenizer:
    """ALBERT's: Unigram over words without case and accents."""
    steps = [normalizers.Replace("``", '"'), normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    tokenizer = _unigram(texts, ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"], *steps)
    return _template(tokenizer, "[CLS] $A [SEP]")


def deberta_unigram(texts: list[str]) -> Tokenizer:
    """DeBERTa's: Unigram over words that carry every space before them."""
    tokenizer = _unigram(texts, ["[PAD]", "[CLS]", "[SEP]", "<unk>", "[MASK]"], normalizers.NFKC())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return _template(tokenizer, "[CLS] $A [SEP]")


PLAIN = "PreTrainedTokenizerFast"
"""The class that takes tokenizer.json as it is."""
_BERT = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
_ROBERTA = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>"}
_ENDS = {"pad_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
KINDS = {
    "wordpiece": Kind(tiny.wordpiece, "BertTokenizer", _BERT),
    "cased": Kind(cased_wordpiece, "BertTokenizer", _BERT | {"do_lower_case": False}),
    "roberta": Kind(roberta_bpe, "RobertaTokenizer", _ROBERTA),
    "prefixed": Kind(prefixed_bpe, PLAIN, _ROBERTA),
    "neox": Kind(neox_bpe, PLAIN, _BERT),
    "qwen": Kind(tiny.byte_bpe, "Qwen2Tokenizer", _ENDS),
    "llama3": Kind(llama3_bpe, PLAIN, {"pad_token": "<|end_of_text|>", "eos_token": "<|end_of_text|>"}),
    "llama2": Kind(llama2_bpe, PLAIN, {"pad_token": "</s>", "eos_token": "</s>", "bos_token": "<s>"}),
    "gemma": Kind(gemma_bpe, "GemmaTokenizer", {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>"}),
    "xlmr": Kind(xlmr_unigram, PLAIN, _ROBERTA),
    "t5": Kind(t5_unigram, PLAIN, {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}),
    "albert": Kind(albert_unigram, PLAIN, _BERT | {"pad_token": "<pad>", "unk_token": "<unk>"}),
    "deberta": Kind(deberta_unigram, PLAIN, _BERT | {"unk_token": "<unk>"}),
}
