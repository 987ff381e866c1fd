"""Byte-level tokens for code and issues: `Tokenizer` encodes, `train` learns merges; neither needs torch."""
