"""Starting runs on clusters and watching them: scripts, attempts, the queue, progress. Nothing here imports torch."""
