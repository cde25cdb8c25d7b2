"""Task queues that Runyard is measured beside, each as its own guide starts it, in an environment of their own."""
