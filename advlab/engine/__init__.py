"""Runs any method: batches, compilation, restarts, best-keeping, verification, resuming.

Imports problem, methods by name, classifiers, data, declarations and results.
"""
