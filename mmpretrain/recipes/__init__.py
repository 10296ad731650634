"""One module a verb: these read like the story of a run."""
