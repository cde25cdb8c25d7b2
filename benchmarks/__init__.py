"""What Runyard claims, measured against peers and limits in one run."""
