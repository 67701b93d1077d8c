"""Segmenting many CTs: which ones, in what order, what was done already, on one machine or on a Ray cluster."""
