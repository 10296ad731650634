"""From shards to batches: card, index, order, decode, transforms, tokenizer, loader."""
