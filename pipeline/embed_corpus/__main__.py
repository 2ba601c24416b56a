"""`python -m embed_corpus` is the command."""

from embed_corpus.cli import main

if __name__ == "__main__":
    main()
