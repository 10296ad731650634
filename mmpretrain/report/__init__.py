"""Run folders as one self-contained HTML page."""
