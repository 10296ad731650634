"""Rules that say which samples of a pool to train on, after the baselines of DataComp (Gadre et al. 2023)."""
