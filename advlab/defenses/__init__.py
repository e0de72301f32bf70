"""Detectors of adversarial images, and the attack on a detector and its classifier together.

Imports classifiers, problem, methods, engine, data and declarations.
"""
