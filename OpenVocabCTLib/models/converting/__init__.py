"""Turning checkpoints of other frameworks into model folders."""
