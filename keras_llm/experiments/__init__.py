"""What one finds good settings by: runs side by side, sweeps, probes.

Knows no stage's work: it reads the folders of runs, and has runs made.
"""
