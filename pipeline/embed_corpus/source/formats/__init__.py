"""How the bytes of a source become rows: one module a format, all in one table."""
