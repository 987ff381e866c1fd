"""The models that learn from the shards, and their losses; imports torch."""
