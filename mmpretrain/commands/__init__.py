"""Groups of commands, each a file: options in, a recipe called, nothing heavy imported before."""
