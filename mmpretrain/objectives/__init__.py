"""What is learned: each objective returns its share of the full-batch loss."""
