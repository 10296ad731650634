"""What people ask of a trained model, on top of what it learned."""
