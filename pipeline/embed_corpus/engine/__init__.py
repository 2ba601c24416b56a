"""The model: its facts, its attention over packed batches, its vectors."""
