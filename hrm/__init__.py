"""Learn from shards: a tokenizer, a source of batches and hierarchical reasoning models; needs the extra `train`."""
