"""Train models on token shards: the loop, its checkpoints and what watches over it."""
