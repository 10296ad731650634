"""What stands in the folder of a compression beside the folders of its steps."""

MADE_OF, ROWS, TABLE, PAGE = "compress.json", "rows.jsonl", "table.json", "compression.html"
