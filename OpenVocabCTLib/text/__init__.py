"""Text encoders and the bank of their embeddings."""
