"""Tasks to examples, examples to token shards, token shards to batches; needs no torch but for worker processes."""
