"""Training of OpenVocabCT: data preparation, text-prompted fine-tuning, evaluation, export."""
