"""Pretraining on scans and their reports: multi-granular contrastive learning of image tower and text projections."""
