"""Pack chunks into batches."""
