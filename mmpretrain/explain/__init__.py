"""What a model looks at: maps of a picture by several methods, words by their share, and how faithful a map is."""
