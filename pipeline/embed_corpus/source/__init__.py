"""Find the source files, plan their shards, read their rows."""
