"""What a run will take before anybody books a machine for it: operations, memory, traffic, time."""
