"""Training: recipes, the joint step, the integration of gradients, checkpoints."""
