"""Reports for pretraining: what they say of every organ, by rules or by a model, and how well that is known."""
