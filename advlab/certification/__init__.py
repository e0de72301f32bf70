"""Certified robustness: what no perturbation within a radius can do, proven by bounds, branch and bound or smoothing.

Imports problem, classifiers, data, declarations, results and engine; heavy libraries are TensorFlow, Keras and SciPy.
"""
