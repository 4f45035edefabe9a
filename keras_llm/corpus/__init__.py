"""Raw text to clean, split documents. Knows nothing of tokens or models."""
