"""A FAISS index over a snapshot, and queries against it."""
