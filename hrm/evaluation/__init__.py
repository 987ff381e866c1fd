"""What a trained model is worth: estimates with their intervals, and guesses that need no training; needs no torch."""
