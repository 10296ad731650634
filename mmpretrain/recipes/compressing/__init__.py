"""What `mmpretrain compress` does: each step from one folder to the next, figures, and the page."""
