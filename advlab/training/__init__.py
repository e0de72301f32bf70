"""Training of a recipe: Keras' ``fit`` around one compiled loop, with checkpoints.

Imports engine, methods, problem, classifiers, data and declarations.
"""
