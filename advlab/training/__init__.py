"""Training of a recipe: Keras' ``fit`` around one compiled loop, with checkpoints.

Imports classifiers, data, declarations and engine.
"""
