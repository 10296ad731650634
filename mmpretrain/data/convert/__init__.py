"""From what people have to records: one file a source format, detect assembles them."""
