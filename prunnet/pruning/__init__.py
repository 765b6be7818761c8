"""What is cut: groups of channels or masks of weights, their scores and ranks, and the subnetworks they leave."""
