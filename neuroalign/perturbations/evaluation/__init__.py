"""What is left of a classifier under perturbations: accuracies, thresholds, checks for masked gradients, smoothness."""
