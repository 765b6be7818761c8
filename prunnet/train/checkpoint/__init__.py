"""What a training keeps, to go on or to go back."""
