"""ExecuTorch programs that Core ML runs."""
