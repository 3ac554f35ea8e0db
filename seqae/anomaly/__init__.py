"""From a trained model to alerts: scores on the time axis, thresholds with a false-alarm rate, events."""
