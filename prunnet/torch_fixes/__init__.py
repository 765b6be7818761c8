"""What torch and its companions do wrong, or dear, mended in one place each."""
