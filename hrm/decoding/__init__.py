"""Write responses with a model: token by token, within a grammar that only edits that can be applied satisfy."""
