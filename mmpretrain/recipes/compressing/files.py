"""What stands in the folder of a compression beside the folders of its steps, and beside its table."""

MADE_OF, ROWS, PAGE = "compress.json", "rows.jsonl", "compression.html"
