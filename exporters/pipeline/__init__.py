"""One bundle: plan, convert, verify, measure, write."""
