"""Triton kernels of the GPU path; each has a plain fallback beside its caller."""
