"""Runs and exports as the server and the search ask them."""
