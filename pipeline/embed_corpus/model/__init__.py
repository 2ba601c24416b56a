"""What the files of a model say, read without torch."""
