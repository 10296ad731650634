"""What a config would take on machines that nobody has booked yet."""
