"""What capacities are worth: retrieval over a curve, a matrix, and the official data sets."""
