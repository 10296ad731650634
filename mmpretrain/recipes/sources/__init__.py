"""What the build.py of several datasets share."""
