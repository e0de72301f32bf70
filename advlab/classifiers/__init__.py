"""A Keras model as logits, its file in all generations of Keras, and its card.

Imports data.
"""
