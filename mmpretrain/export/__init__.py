"""A trained run in the formats of other tools; each is compared with torch before it is kept."""
