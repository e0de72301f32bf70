"""Models saved by any generation of Keras, rebuilt in Keras 3: ``layers`` from the configuration, then ``weights``."""
